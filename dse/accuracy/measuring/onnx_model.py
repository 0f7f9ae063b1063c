"""An ONNX model whose weights and layer inputs can be quantized from run to run, in one onnxruntime session.

Batch norms are folded first, as a deployed network has them. Every layer's weight becomes an input with a default, so that
a quantized one can be fed in its place; every layer's input goes through a conditional branch that quantizes it, and costs
nothing while the condition is false. Building a session for each measurement would take longer than measuring.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.accuracy.profiles.profile import some_names
from dse.errors import InputError
from dse.files import read_bytes
from dse.precision.formats.quantize import quantize
from dse.types import Floats
from dse.workload.from_onnx.graph.read import MAX_FILE_BYTES, first_line, inlined
from dse.workload.from_onnx.names import layer_names

#: Images that activation ranges are taken from, at most.
RANGE_IMAGES = 64
#: Values that the percentile of one tensor is taken over, about: a tenth of a percent of them is still two thousand.
RANGE_VALUES = 2_000_000
#: Percentile of the magnitude that an activation's range holds: outliers beyond it saturate.
RANGE_PERCENTILE = 99.9
#: Images that run at once where the model leaves the batch open.
BATCH = 16
#: Most values of an input that are believed: a batch of 800 pictures of 224 x 224.
MAX_INPUT_VALUES = 2**27
#: Largest magnitude of an image's or a tensor's value: its square is a 32-bit float.
MOST_VALUE = 1e18
#: First operator set whose Round and Clip take what the quantizer needs.
MIN_OPSET = 11

_SUPPORTED = ("Conv", "Gemm", "MatMul")
_OTHER_MACS = (
    "ConvTranspose", "DeformConv", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention",
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
)  # fmt: skip


@dataclass(frozen=True)
class OnnxLayer:
    """A layer that can be measured: node, name, weight initializer and the axis of its output channels, input, MACs per image."""

    name: str
    weight: str
    channel_axis: int
    source: str
    macs: int


@dataclass(frozen=True)
class OnnxModel:
    """See :class:`dse.accuracy.measuring.measure.Model`; made by :func:`open_onnx`."""

    name: str
    layers: tuple[str, ...]
    weights: int
    kept: Mapping[str, int]
    notes: tuple[str, ...]
    digest: str
    per_channel: bool
    batch: int
    input_name: str
    input_shape: tuple[int, ...]
    details: Mapping[str, OnnxLayer]
    tensors: Mapping[str, NDArray[np.float32]]
    session: Any = field(repr=False)

    def ranges(self, images: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
        """(low, high) of each layer's input: low is 0 where no value is negative, else -high."""
        chosen = images[np.unique(np.linspace(0, len(images) - 1, min(len(images), RANGE_IMAGES)).round().astype(int))]
        found = {}
        for name, layer in self.details.items():
            values = np.concatenate([block.ravel() for block in self._run(chosen, {}, layer.source)])
            step = 1 + 2 * (
                len(values) // (2 * RANGE_VALUES)
            )  # odd, so that it does not fall into step with a power of two
            high = float(np.percentile(np.abs(values[::step]), RANGE_PERCENTILE)) or float(np.abs(values).max()) or 1.0
            found[name] = (0.0 if float(values.min()) >= 0.0 else -high, high)
        return found

    def outputs(
        self,
        images: NDArray[np.float32],
        weight: Mapping[str, int],
        activation: Mapping[str, int],
        ranges: Mapping[str, tuple[float, float]],
    ) -> Floats:
        """(n, classes) outputs before the softmax with some weights and inputs quantized to the given widths in bits."""
        feeds: dict[str, NDArray[Any]] = {}
        for name, bits in weight.items():
            feeds[self.details[name].weight] = self._narrow_weight(name, bits)
        for name, bits in activation.items():
            scale, lowest, highest = _steps(ranges[name], bits)
            feeds[f"{name}/on"] = np.array(True)
            feeds[f"{name}/scale"] = np.array(scale, dtype=np.float32)
            feeds[f"{name}/low"] = np.array(lowest, dtype=np.float32)
            feeds[f"{name}/high"] = np.array(highest, dtype=np.float32)
        found = np.concatenate(self._run(images, feeds, self.session.get_outputs()[0].name)).astype(np.float64)
        flat = found.reshape(len(found), -1)
        if flat.shape[1] != found.shape[min(1, found.ndim - 1)] or flat.shape[1] < 2:
            raise InputError(
                self.name, [f"expected one output per class, got outputs of shape {list(found.shape[1:])} per image"]
            )
        return flat

    def tensor_noise(
        self,
        images: NDArray[np.float32],
        layer: str,
        operand: str,
        width: int,
        ranges: Mapping[str, tuple[float, float]],
    ) -> float:
        """Squared error of one layer's rounded weight or input over its square."""
        if operand == "weight":
            exact = self.tensors[self.details[layer].weight].astype(np.float64)
            return _noise([(exact, self._narrow_weight(layer, width).astype(np.float64))])
        scale, lowest, highest = _steps(ranges[layer], width)
        exacts = [block.astype(np.float64) for block in self._run(images, {}, self.details[layer].source)]
        return _noise((x, np.clip(np.round(x / scale), lowest, highest) * scale) for x in exacts)

    def _narrow_weight(self, name: str, bits: int) -> NDArray[np.float32]:
        layer = self.details[name]
        form = f"int{bits}:channel" if self.per_channel else f"int{bits}"
        return quantize(self.tensors[layer.weight], form, channel_axis=layer.channel_axis).astype(np.float32)

    def _run(self, images: NDArray[np.float32], feeds: dict[str, NDArray[Any]], output: str) -> list[NDArray[Any]]:
        if output == self.input_name:
            return [images]
        blocks = []
        for start in range(0, len(images), self.batch):
            block = images[start : start + self.batch]
            missing = self.batch - len(block)
            whole = np.concatenate([block, np.repeat(block[-1:], missing, axis=0)]) if missing else block
            try:
                made = self.session.run([output], {self.input_name: whole, **feeds})[0]
            except Exception as error:  # onnxruntime has classes of its own, without a common one.
                raise InputError(self.name, [f"the model cannot be run: {first_line(error)}"]) from None
            # Values that rounding could not square; the scores would be infinite or no numbers.
            if made.dtype.kind == "f" and not (np.abs(made) < MOST_VALUE).all():
                raise InputError(self.name, [f"'{output}' is not finite, or above {MOST_VALUE:g}, on these images"])
            blocks.append(made[: len(block)])
        return blocks


def _steps(span: tuple[float, float], bits: int) -> tuple[float, float, float]:
    """Scale, lowest and highest code of an activation's quantizer: unsigned where no value is negative."""
    low, high = span
    steps = 2**bits - 1 if low == 0.0 else 2 ** (bits - 1) - 1
    return high / steps, 0.0 if low == 0.0 else -float(steps), float(steps)


def _noise(pairs: Iterable[tuple[Floats, Floats]]) -> float:
    """Squared error of (exact, rounded) pieces of a tensor over its square; 0 of a tensor of zeros."""
    error = signal = 0.0
    for exact, rounded in pairs:
        error += float(((rounded - exact) ** 2).sum())
        signal += float((exact**2).sum())
    return error / signal if signal else 0.0


def open_onnx(
    path: str | Path, *, per_channel: bool = True, skip_unsupported: bool = False, threads: int = 0
) -> OnnxModel:
    """Read an ONNX model and prepare it for measuring.

    Parameters
    ----------
    per_channel
        One scale per output channel of a weight, or one per weight tensor.
    skip_unsupported
        Keep layers that cannot be measured in full precision instead of refusing the model.
    threads
        Of onnxruntime; 0 for its own choice.

    Raises
    ------
    InputError
        onnx or onnxruntime is not installed; no such file or no model; shapes other than the batch that are not fixed;
        several inputs; layers that cannot be measured, with their share of the MACs; no layer at all.
    """
    source = str(path)
    content = read_bytes(source, MAX_FILE_BYTES, "an ONNX file, with weights as external data if need be")
    try:
        return _opened(content, source, per_channel, skip_unsupported, threads)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # What onnx, onnxruntime and numpy say of a model that passed onnx's own check.
        raise InputError(source, [f"is no ONNX model that can be measured: {first_line(error)}"]) from None


def _opened(content: bytes, source: str, per_channel: bool, skip_unsupported: bool, threads: int) -> OnnxModel:
    onnx, runtime = _libraries()
    try:
        model = onnx.load_model_from_string(content)
        onnx.load_external_data_for_model(model, str(Path(source).parent))
        onnx.checker.check_model(model)
    except Exception as error:
        raise InputError(source, [f"is no ONNX model that can be read: {first_line(error)}"]) from None
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise InputError(source, [f"uses operator set {opset}; export the model with {MIN_OPSET} or newer"])
    tensors = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    tensors |= {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    input_name, shape, batch = _single_input(model.graph, tensors, source)
    # Names of the graph as it is in the file with its functions written out, as importing it gives them.
    model = inlined(onnx, model, source)
    for node, name in zip(model.graph.node, layer_names(model.graph), strict=True):
        node.name = name
    _fold_batch_norms(onnx, model.graph, tensors)
    _constants_as_initializers(onnx, model.graph, tensors)
    _drop_softmax(model.graph)
    macs = _macs_per_image(onnx, runtime, model, tensors, input_name, (batch or 1, *shape))
    layers, unsupported = _find_layers(model.graph, tensors, macs)
    if unsupported and not skip_unsupported:
        total = sum(macs.values())
        shown = [
            f"'{name}' ({kind}, "
            + (f"{100 * macs[name] / total:.1f} % of the MACs)" if macs.get(name) else "MACs unknown)")
            for name, kind in unsupported.items()
        ]
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        message = f"has layers that cannot be measured: {', '.join(shown[:4])}{more}; skip them to keep them in full precision"
        raise InputError(source, [message])
    if not layers:
        raise InputError(source, ["has no convolution or fully connected layer with constant weights"])
    notes = (
        (f"Layers that could not be measured stay in full precision: {some_names(list(unsupported))}.",)
        if unsupported
        else ()
    )
    session = _instrumented(onnx, runtime, model, tensors, layers, input_name, threads)
    return OnnxModel(
        name=Path(source).stem,
        layers=tuple(layer.name for layer in layers),
        weights=sum(int(tensors[layer.weight].size) for layer in layers),
        kept=dict.fromkeys(unsupported, 32),
        notes=notes,
        digest=hashlib.sha256(content + str(per_channel).encode()).hexdigest(),
        per_channel=per_channel,
        batch=batch or BATCH,
        input_name=input_name,
        input_shape=shape,
        details={layer.name: layer for layer in layers},
        tensors={layer.weight: tensors[layer.weight] for layer in layers},
        session=session,
    )


def check_images(model: OnnxModel, images: NDArray[Any], source: str) -> NDArray[np.float32]:
    """Images as the model takes them.

    Raises
    ------
    InputError
        Another shape, or values that are not finite numbers.
    """
    if images.shape[1:] != model.input_shape or images.ndim != len(model.input_shape) + 1:
        expected = " x ".join(map(str, model.input_shape))
        raise InputError(
            source, [f"expected images of {expected} as the model takes them, got shape {list(images.shape)}"]
        )
    if not np.issubdtype(images.dtype, np.number) or not (np.abs(images) < MOST_VALUE).all():
        message = f"expected finite numbers below {MOST_VALUE:g}, already scaled as the model was trained"
        raise InputError(source, [message])
    return images.astype(np.float32)


def _libraries() -> tuple[Any, Any]:
    try:
        onnx, runtime = (importlib.import_module(name) for name in ("onnx", "onnxruntime"))
    except ImportError as error:
        raise InputError(
            "dse profile",
            [f"'{error.name}' is not installed; ONNX models need the extra: pip install 'lowprec-dse[onnx]'"],
        ) from None
    return onnx, runtime


def _single_input(graph: Any, tensors: Mapping[str, Any], source: str) -> tuple[str, tuple[int, ...], int]:
    """Name, shape without batch, and fixed batch (0 if open) of the model's only input."""
    inputs = [item for item in graph.input if item.name not in tensors]
    if len(inputs) != 1:
        raise InputError(
            source, [f"expected a model with one input, got {len(inputs)}: {some_names([i.name for i in inputs])}"]
        )
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in inputs[0].type.tensor_type.shape.dim]
    if len(dims) < 2 or any(size < 1 for size in dims[1:]):
        shown = [dim.dim_value or dim.dim_param or "?" for dim in inputs[0].type.tensor_type.shape.dim]
        message = f"input '{inputs[0].name}' has dynamic shape {shown}; export the model with fixed sizes (the batch may stay open)"
        raise InputError(source, [message])
    if (dims[0] or BATCH) * prod(dims[1:]) > MAX_INPUT_VALUES or dims[0] < 0:
        message = f"input '{inputs[0].name}' has shape {dims}; expected at most {MAX_INPUT_VALUES:,} values in a batch"
        raise InputError(source, [message])
    return inputs[0].name, tuple(dims[1:]), dims[0]


def _find_layers(
    graph: Any, tensors: Mapping[str, Any], macs: Mapping[str, int]
) -> tuple[list[OnnxLayer], dict[str, str]]:
    layers, unsupported = [], {}
    for node in graph.node:
        name = node.name
        if node.op_type in _OTHER_MACS:
            unsupported[name] = node.op_type
        if node.op_type not in _SUPPORTED:
            continue
        weight = tensors.get(node.input[1])
        if weight is None or node.input[0] in tensors or (node.op_type == "MatMul" and weight.ndim != 2):
            unsupported[name] = f"{node.op_type} without constant weights"
            continue
        if weight.dtype != np.float32:
            unsupported[name] = f"{node.op_type} with weights of {weight.dtype}"
            continue
        flags = {item.name: item.i for item in node.attribute}
        last = node.op_type == "MatMul" or (node.op_type == "Gemm" and not flags.get("transB", 0))
        layers.append(OnnxLayer(name, node.input[1], weight.ndim - 1 if last else 0, node.input[0], macs.get(name, 0)))
    shared = {layer.weight for layer in layers if sum(other.weight == layer.weight for other in layers) > 1}
    unsupported |= {layer.name: "weight shared with another layer" for layer in layers if layer.weight in shared}
    return [layer for layer in layers if layer.weight not in shared], unsupported


def _fold_batch_norms(onnx: Any, graph: Any, tensors: dict[str, NDArray[Any]]) -> None:
    """Fold each batch norm that alone follows a convolution into its weight and bias; exact at inference."""
    producers = {output: node for node in graph.node for output in node.output}
    uses = [name for node in graph.node for name in node.input] + [item.name for item in graph.output]
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or uses.count(norm.input[0]) != 1 or uses.count(conv.input[1]) != 1:
            continue
        if any(name not in tensors for name in (conv.input[1], *norm.input[1:5], *conv.input[2:3])):
            continue
        gamma, beta, mean, variance = (tensors[name].astype(np.float64) for name in norm.input[1:5])
        epsilon = next((item.f for item in norm.attribute if item.name == "epsilon"), 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        weight = tensors[conv.input[1]]
        bias = tensors[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(scale))
        tensors[conv.input[1]] = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
        tensors[f"{conv.input[1]}/folded_bias"] = (beta + (bias - mean) * scale).astype(np.float32)
        inputs = [*conv.input[:2], f"{conv.input[1]}/folded_bias"]
        del conv.input[:]
        conv.input.extend(inputs)
        conv.output[0] = norm.output[0]
        graph.node.remove(norm)


def _constants_as_initializers(onnx: Any, graph: Any, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write the tensors that are read as initializers: constants too, so that every weight can be fed."""
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] in tensors]:
        graph.node.remove(node)
    del graph.initializer[:]
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()
    )


def _drop_softmax(graph: Any) -> None:
    """End at the input of a final softmax: scores and predictions are taken from there."""
    last = next((node for node in graph.node if graph.output[0].name in node.output), None)
    if last is not None and last.op_type == "Softmax":
        graph.output[0].name = last.input[0]
        graph.node.remove(last)


def _macs_per_image(
    onnx: Any, runtime: Any, model: Any, tensors: Mapping[str, NDArray[Any]], input_name: str, shape: tuple[int, ...]
) -> dict[str, int]:
    """MACs of each layer from the shapes of a run on zeros; layers of kinds that are not known here are left out."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    wanted = [node for node in probe.graph.node if node.op_type in (*_SUPPORTED, "ConvTranspose")]
    names = {name for node in wanted for name in (*node.output[:1], *node.input[:2]) if name not in tensors}
    names -= {input_name, *(item.name for item in probe.graph.output)}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
    session = runtime.InferenceSession(
        probe.SerializeToString(), _options(runtime, 0), providers=["CPUExecutionProvider"]
    )
    outputs = [item.name for item in session.get_outputs()]
    zeros = np.zeros(shape, dtype=np.float32)
    shapes = {
        name: np.shape(value) for name, value in zip(outputs, session.run(outputs, {input_name: zeros}), strict=True)
    }
    shapes |= {name: value.shape for name, value in tensors.items()} | {input_name: shape}
    macs = {}
    for node in wanted:
        first, second, result = (shapes[name] for name in (*node.input[:2], node.output[0]))
        if node.op_type == "Conv":
            count = prod(result) * prod(second[1:])
        elif node.op_type == "ConvTranspose":
            count = prod(first) * prod(second[1:])
        else:
            transposed = any(item.name == "transA" and item.i for item in node.attribute)
            count = prod(result) * first[0 if transposed else -1]
        macs[node.name] = count // shape[0]
    return macs


def _instrumented(
    onnx: Any,
    runtime: Any,
    model: Any,
    tensors: Mapping[str, Any],
    layers: list[OnnxLayer],
    input_name: str,
    threads: int,
) -> Any:
    """A session with a feed for every layer's weight and a switch, scale and bounds for its input."""
    helper, graph = onnx.helper, model.graph
    floats, boolean = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    declared = {item.name for item in graph.input}
    nodes = []
    by_weight = {layer.weight: layer for layer in layers}
    for node in graph.node:
        layer = by_weight.get(node.input[1]) if node.op_type in _SUPPORTED and len(node.input) > 1 else None
        if layer is not None:
            on, scale, low, high = (f"{layer.name}/{part}" for part in ("on", "scale", "low", "high"))
            steps, rounded, clipped, out = (
                f"{layer.name}/{part}" for part in ("steps", "rounded", "clipped", "quantized")
            )
            taken = helper.make_graph(
                [
                    helper.make_node("Div", [layer.source, scale], [steps]),
                    helper.make_node("Round", [steps], [rounded]),
                    helper.make_node("Clip", [rounded, low, high], [clipped]),
                    helper.make_node("Mul", [clipped, scale], [out]),
                ],
                f"{layer.name}/then", [], [helper.make_tensor_value_info(out, floats, None)],
            )  # fmt: skip
            plain = f"{layer.name}/plain"
            passed = helper.make_graph(
                [helper.make_node("Identity", [layer.source], [plain])],
                f"{layer.name}/else", [], [helper.make_tensor_value_info(plain, floats, None)],
            )  # fmt: skip
            given = f"{layer.name}/input"
            nodes.append(helper.make_node("If", [on], [given], then_branch=taken, else_branch=passed))
            for name, kind, value in (
                (on, boolean, False),
                (scale, floats, 1.0),
                (low, floats, -1.0),
                (high, floats, 1.0),
            ):
                graph.input.append(helper.make_tensor_value_info(name, kind, []))
                graph.initializer.append(helper.make_tensor(name, kind, [], [value]))
            if layer.weight not in declared:
                graph.input.append(helper.make_tensor_value_info(layer.weight, floats, tensors[layer.weight].shape))
                declared.add(layer.weight)
            node.input[0] = given
        nodes.append(node)
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    del graph.value_info[:]
    ends = {item.name for item in graph.output}
    watched = dict.fromkeys(layer.source for layer in layers if layer.source != input_name)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in watched if name not in ends)
    model.ir_version = max(model.ir_version, 4)
    return runtime.InferenceSession(
        model.SerializeToString(), _options(runtime, threads), providers=["CPUExecutionProvider"]
    )


def _options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return options
