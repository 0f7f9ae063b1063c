"""The formulas of the loss law: loss in BF16 by size and tokens, and what low-precision products add to it.

*BF16*: ``L = E + ((a n^-alpha)^(1/gamma) + (b d^-beta)^(1/gamma))^gamma``, n parameters with one embedding table, d tokens.
With gamma = 1 it is the law of Hoffmann et al. (arXiv 2203.15556); the joint exponent is that of Quartet (Castro et al., arXiv
2505.14669), written so that alpha and beta are the exponents far from the other limit. Embeddings count because laws in
parameters without them bend at small sizes (Pearce and Song, arXiv 2406.12907).

*Forward products*: ``k (noise / noise of NVFP4) N^-p / (1 + (D0 / D)^s)``: proportional to the squared rounding error, slowly
falling with size, and growing with tokens until about D0 (Kumar et al., arXiv 2411.04330, found growth with tokens; it ends).

*Backward products*: a bias that grows, ``u N^p D^q``, and a noise that more tokens average out, ``v D^-r``, per kind of
rounding; the three roundings (error and weight of backward_data, both operands of backward_weight) add in fixed proportions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dse.accuracy.law.recipe import FULL, Recipe, Rounded, noise

Array = NDArray[np.float64]
#: Units in which the parameters of the law are written.
BASE_PARAMETERS, BASE_TOKENS = 1e8, 1e10
EXCESS_PARAMETERS, EXCESS_TOKENS = 5e7, 5e9
#: Tokens of the vocabulary, and width and parameters of a measured model: width grows as the cube root of size.
VOCABULARY, WIDTH, WIDTH_PARAMETERS = 32_000, 1024, 102_777_856
#: The format whose noise is the unit.
UNIT_FORMAT = "nvfp4"

#: Values by name; arrays of one shape that broadcasts against the runs give one law per row.
Parameters: TypeAlias = Mapping[str, Any]


def with_embedding(parameters: Array) -> Array:
    """Parameters with one embedding table, from those without (Llama: width x 32,000 tokens, the width from the size)."""
    return np.asarray(parameters + VOCABULARY * WIDTH * np.cbrt(parameters / WIDTH_PARAMETERS))


def reference_loss(p: Parameters, parameters: Array, tokens: Array) -> Array:
    """Loss of training in BF16, nat per token; see the module for the formula.

    Parameters
    ----------
    parameters
        Without embeddings.
    """
    n, d = np.log(with_embedding(parameters) / BASE_PARAMETERS), np.log(tokens / BASE_TOKENS)
    gamma = p["gamma"]
    by_size, by_tokens = (p["log_a"] - p["alpha"] * n) / gamma, (p["log_b"] - p["beta"] * d) / gamma
    return np.asarray(p["irreducible"] + np.exp(gamma * np.logaddexp(by_size, by_tokens)))


def forward_excess(p: Parameters, product: Rounded, parameters: Array, tokens: Array) -> Array:
    """Loss that rounded forward products add, nat."""
    amplitude = _ratio(product.first, product.second, product.rounding) * _corrections(p, product)
    n, d = np.log(parameters / EXCESS_PARAMETERS), np.log(tokens / EXCESS_TOKENS)
    grown = 1.0 / (1.0 + np.exp(-p["forward_growth"] * (d - p["forward_tokens"])))
    return np.asarray(amplitude * np.exp(p["forward"] - p["forward_size"] * n) * grown)


def backward_excess(p: Parameters, recipe: Recipe, parameters: Array, tokens: Array) -> Array:
    """Loss that rounded backward products add, nat.

    Rounding a weight again matters less where the forward pass rounds it too (``again``): part of the damage is already there.
    """
    again = 1.0 if recipe.forward.exact else p["again"]
    data, gradient = recipe.data, recipe.gradient
    total = np.zeros(np.broadcast_shapes(parameters.shape, tokens.shape))
    if not data.exact:
        weight = np.exp(p["share_weight"]) * _ratio(data.second) * again
        strength = (_ratio(data.first) + weight) * _corrections(p, data)
        total = total + strength * _shape(p, data.rounding, parameters, tokens)
    if not gradient.exact:
        strength = np.exp(p["share_gradient"]) * _ratio(gradient.first, gradient.second) * _corrections(p, gradient)
        total = total + strength * _shape(p, gradient.rounding, parameters, tokens)
    return np.asarray(total)


def excess(p: Parameters, recipe: Recipe, parameters: Array, tokens: Array) -> Array:
    """Loss over BF16 at the same size and tokens, nat; forward and backward products add."""
    forward = 0.0 if recipe.forward.exact else forward_excess(p, recipe.forward, parameters, tokens)
    return np.asarray(forward + backward_excess(p, recipe, parameters, tokens))


def _shape(p: Parameters, rounding: str, parameters: Array, tokens: Array) -> Array:
    n, d = np.log(parameters / EXCESS_PARAMETERS), np.log(tokens / EXCESS_TOKENS)
    bias = np.exp(p[f"bias_{rounding}"] + p["bias_size"] * n + p["bias_tokens"] * d)
    return np.asarray(bias + np.exp(p[f"noise_{rounding}"] - p["noise_tokens"] * d))


def _ratio(first: str, second: str | None = None, rounding: str = "nearest") -> float:
    names = (first,) if second is None else (first, second)
    return sum(0.0 if name in FULL else noise(name, rounding) for name in names) / len(names) / noise(UNIT_FORMAT)


def _corrections(p: Parameters, product: Rounded) -> Array:
    return np.asarray(np.exp(sum(p.get(f"feature_{name}", 0.0) for name in product.features)))
