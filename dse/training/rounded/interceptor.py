"""Where products run inside of any torch module: seen as they are called, named as :func:`dse.trace` names layers.

While a module runs, a torch function mode sees every call above autograd. A product with a parameter is a layer of that parameter's
module; a product of two activations is ``matmul`` of the module that runs. What runs below that level (scripted code, kernels of
others' own, packed sequences) is not seen, and stays as it is.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dse.training.rounded import products, recurrent
from dse.training.rounded.layers import Control
from dse.workload.from_torch.names import layer_of_parameter

_CONVOLUTIONS = tuple(f"conv{way}{axes}d" for way in ("", "_transpose") for axes in (1, 2, 3))
#: Functions of torch written in Python that multiply inside.
_COMPOSITES = ("multi_head_attention_forward", "tensordot", "chain_matmul")
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


class Interceptor(TorchFunctionMode):
    """Rounds the products of a module; active while one of its parts runs.

    Attributes
    ----------
    root
        The module.
    controls
        By name of the layer; a layer without one runs as it is.
    seen
        Names of the layers that ran.
    """

    def __init__(self, root: nn.Module, controls: Mapping[str, Control]) -> None:
        super().__init__()
        self.root = root
        self.controls = controls
        self.seen: dict[str, None] = {}
        self._running: list[tuple[str, nn.Module]] = []
        self._counts: dict[str, int] = {}
        self._keys: dict[int, tuple[str, ...]] = {}
        self._names: dict[tuple[int, tuple[int, ...]], str] = {}
        self._hooks: list[Any] = []

    def attach(self) -> None:
        """Watch the module and all its parts: one of them may run alone, as when a checkpoint recomputes it."""
        for path, module in self.root.named_modules():
            # Bound methods in partials, so that a deep copy of the module has an interceptor of its own.
            enter = module.register_forward_pre_hook(partial(self._enter, path), prepend=True)
            leave = module.register_forward_hook(partial(self._leave), always_call=True)
            self._hooks += [enter, leave]

    def detach(self) -> None:
        """Let the module run as it is."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def weight(self, weight: Tensor) -> Control | None:
        """Control of the layer with a weight."""
        if not self.is_weight(weight):
            return self.product()
        return self._found(self._weight_name(weight))

    def product(self) -> Control | None:
        """Control of the product of two activations that runs next."""
        path = self._running[-1][0] if self._running else ""
        name = f"{path}.matmul" if path else "matmul"
        self._counts[name] = self._counts.get(name, 0) + 1
        return self._found(name if self._counts[name] == 1 else f"{name}_{self._counts[name]}")

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, a part of one, or what the module of the running layer computes as its weight."""
        return storage(tensor) in self._keys or self._computed(tensor) is not None

    def __torch_function__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if "input" in named and name in ("linear", *_CONVOLUTIONS, "matmul", "mm", "bmm"):
            args = (named.pop("input"), *args)
        if isinstance(func, types.FunctionType) and name in _COMPOSITES:
            with self:
                return _unchecked(func)(*args, **named)
        if name == "linear":
            return products.linear(self, *args, **named)
        if name in _CONVOLUTIONS:
            return products.convolution(self, func, *args, **named)
        if name in ("matmul", "__matmul__", "mm", "bmm", "mv", "dot") and "out" not in named:
            return products.matmul(self, *args, *named.values())
        if name == "__rmatmul__":
            return products.matmul(self, args[1], args[0])
        if name in ("addmm", "baddbmm", "addbmm") and "out" not in named:
            return products.add_product(self, func, *args, **named)
        if name == "einsum" and isinstance(args[0], str):
            operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
            return products.einsum(self, args[0], list(operands))
        if name == "scaled_dot_product_attention":
            return products.attention(self, *args, **named)
        if name in recurrent.CELLS and not isinstance(args[3], (list, tuple)):
            return self._recurrent(func, *args)
        if name.removesuffix("_cell") in recurrent.CELLS and name.endswith("_cell"):
            return self._cell(func, *args)
        return func(*args, **named)

    def _recurrent(self, func: Any, x: Tensor, start: Any, weights: list[Tensor], *settings: Any) -> Any:
        if not self._any(weights):
            return func(x, start, weights, *settings)
        cell = recurrent.CELLS[func.__name__]
        state = tuple(start) if isinstance(start, (tuple, list)) else (start,)
        return recurrent.recurrent(self, cell, x, state, weights, *settings)

    def _cell(self, func: Any, x: Tensor, start: Any, *weights: Tensor | None) -> Any:
        if not self._any([weight for weight in weights if weight is not None]):
            return func(x, start, *weights)
        name = func.__name__.removesuffix("_cell")
        state = tuple(start) if isinstance(start, (tuple, list)) else (start,)
        found = recurrent.step(self, recurrent.CELLS[name], x, state, weights)
        return found if name == "lstm" else found[0]

    def _any(self, weights: list[Tensor]) -> bool:
        """Whether some product with these weights is rounded; biases multiply nothing."""
        controls = [self.weight(weight) for weight in weights if weight.ndim > 1]
        return any(control is not None for control in controls)

    def _found(self, name: str) -> Control | None:
        self.seen[name] = None
        return self.controls.get(name)

    def _weight_name(self, weight: Tensor) -> str:
        path, module = self._running[-1] if self._running else ("", self.root)
        keys = self._keys.get(storage(weight)) or (self._computed(weight) or "",)
        known = self._names.get((hash(keys), tuple(weight.shape)))
        if known is not None:
            return known
        key = next((key for key in keys if path and key.startswith(f"{path}.")), keys[0])
        recurrent_ = isinstance(module, nn.RNNBase | nn.RNNCellBase)
        name = layer_of_parameter(key, recurrent_, getattr(module, "num_layers", 1) > 1) or "layer"
        self._counts[name] = self._counts.get(name, 0) + 1
        name = name if self._counts[name] == 1 else f"{name}_{self._counts[name]}"
        self._names[hash(keys), tuple(weight.shape)] = name
        return name

    def _computed(self, tensor: Tensor) -> str | None:
        """The key of a weight that the running module's parametrization computes, told by its shape."""
        path, module = self._running[-1] if self._running else ("", self.root)
        for name, parts in getattr(module, "parametrizations", {}).items():
            if any(part.shape == tensor.shape for part in parts.parameters()):
                return f"{path}.{name}" if path else name
        return None

    def _enter(self, path: str, module: nn.Module, _inputs: Any) -> None:
        if not self._running:
            self._counts.clear()
            self._names.clear()
            if not path or not self._keys:
                self._keys = parameter_keys(self.root)
            self.__enter__()
        self._running.append((path, module))

    def _leave(self, *_: Any) -> None:
        self._running.pop()
        if not self._running:
            self.__exit__(None, None, None)


def parameter_keys(module: nn.Module) -> dict[int, tuple[str, ...]]:
    """Names of the parameters by storage."""
    found: dict[int, tuple[str, ...]] = {}
    for key, tensor in module.named_parameters(remove_duplicate=False):
        found[storage(tensor)] = (*found.get(storage(tensor), ()), key)
    return found


def storage(tensor: Tensor) -> int:
    """What tells a tensor's memory from others', views being the same."""
    return int(tensor.untyped_storage()._cdata)


_CLONES: dict[Any, Callable[..., Any]] = {}


def _unchecked(func: types.FunctionType) -> Callable[..., Any]:
    """A function of torch without its question whether a mode is active: its body then runs under the mode."""
    if func not in _CLONES:
        own = {**func.__globals__, **dict.fromkeys(_CHECKS, lambda *_: False)}
        clone = types.FunctionType(func.__code__, own, func.__name__, func.__defaults__, func.__closure__)
        clone.__kwdefaults__ = func.__kwdefaults__
        _CLONES[func] = clone
    return _CLONES[func]
