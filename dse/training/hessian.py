"""Weights' scores from curvature: trace of the Hessian times squared rounding error (HAWQ-V2, Dong et al., NeurIPS 2020).

To second order, rounding a weight by d changes the loss by d' H d / 2, the gradient of a trained network being near zero. If d has
no preferred direction, that is tr(H) / n times |d|^2 / 2 in the mean, n weights. The trace comes from Hutchinson's estimator,
tr(H) = E v' H v for random signs v (Commun. Stat. Simul. Comput. 19, 1990), for which a Hessian is never written down.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dse.accuracy.measuring.settings import Images
from dse.errors import InputError
from dse.precision.formats.properties import parse_format
from dse.training.loops.torch_model import KINDS, in_full_precision
from dse.training.rounded.layers import mac_layers, store
from dse.types import Ints


def hessian_traces(module: nn.Module, images: Images, labels: Ints, draws: int = 16, seed: int = 0) -> dict[str, float]:
    """Trace of the loss's Hessian with respect to each layer's weights, by layer.

    Parameters
    ----------
    draws
        Random vectors of signs; the relative error of a trace falls with their square root.

    Raises
    ------
    InputError
        No draws, or no layer with weights.
    """
    weights = {name: part.weight for name, part in module.named_modules() if isinstance(part, KINDS)}
    if draws < 1 or not weights:
        raise InputError("hessian traces", [f"expected at least one draw and a layer with weights, got {draws} draws"])
    generator = torch.Generator().manual_seed(seed)
    totals = dict.fromkeys(weights, 0.0)
    module.eval()
    with in_full_precision(mac_layers(module)):
        loss = nn.functional.cross_entropy(module(torch.from_numpy(images)), torch.from_numpy(labels))
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        for _ in range(draws):
            for (name, weight), slope in zip(weights.items(), slopes, strict=True):
                signs = torch.randint(0, 2, weight.shape, generator=generator).to(weight.dtype) * 2.0 - 1.0
                (curved,) = torch.autograd.grad((slope * signs).sum(), weight, retain_graph=True)
                totals[name] += float((signs * curved).sum()) / draws
    return totals


def hessian_scores(
    module: nn.Module,
    images: Images,
    labels: Ints,
    widths: Sequence[int],
    family: str = "int",
    draws: int = 16,
    seed: int = 0,
) -> dict[str, dict[int, float]]:
    """Expected increase of the loss (nat) from rounding each layer's weights, by layer and width; never below 0.

    A tenth of the cost of measuring every width, and blind to everything but curvature: compare it with the measured loss.
    """
    parts = dict(module.named_modules())
    scores: dict[str, dict[int, float]] = {}
    head, _, option = family.partition(":")
    for name, trace in hessian_traces(module, images, labels, draws, seed).items():
        weight = parts[name].weight.detach()
        pictures = isinstance(parts[name], nn.Conv2d)
        scores[name] = {}
        for width in widths:
            form = parse_format(f"{head}{width}" + (f":{option}" if option else ""))
            error = float(((store(weight, form, "weight", pictures) - weight) ** 2).sum())
            scores[name][width] = max(0.0, trace) / weight.numel() * error / 2.0
    return scores
