"""MLS: multi-level scaling format (Zhong et al., arXiv 2006.02804v4, TCAD 2022), without memory as published, and with it.

Theirs: elements of <E, M> bits, integer multiply-accumulate inside a group, floating-point additions between groups; computing
units alone take 8.3 to 10.2 times less energy than FP32's and 1.9 to 2.3 times less than FP8's, for training on ImageNet.
Groups lie over (N, C) of activations and errors and (K, C) of weights, so a group is one filter in forward and backward_data
(1/(R S) additions per MAC) and one feature map in backward_weight (1/(P Q)). Their energies of single operations were not at
hand; the ones here are second hand and close on the published ranges. Ours: the same counts with sourced energies, then
evaluate with memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.hardware.model import Hardware, ProcessingElement
from dse.hardware.prices.arithmetic import float_add_pj, float_multiply_pj, int_add_pj, int_multiply_pj, shift_pj
from dse.precision import Plan
from dse.studies.study import Claim, Study, bars, rows_of
from dse.workload import load_workload
from dse.workload.model import Network
from dse.workload.work.vector import vector_work

#: Published ratios of the energy of computing units, ImageNet networks: FP32 over MLS, FP8 over MLS.
CLAIMED = {"FP32": (8.3, 10.2), "FP8": (1.9, 2.3)}
NETWORKS = ("imagenet_resnet", "imagenet_resnet34", "imagenet_vgg16", "imagenet_googlenet")


@dataclass(frozen=True)
class Operations:
    """Energy of operations, pJ.

    Attributes
    ----------
    multiply, accumulate
        Of one MAC, by format.
    tree_add
        Floating-point addition between groups.
    other
        Least and most of other floating-point work per MAC (norms, quantization, weight updates), in every format.
    """

    multiply: dict[str, float]
    accumulate: dict[str, float]
    tree_add: float
    other: tuple[float, float]


#: Second hand, not confirmed: multiply and accumulate by format; 0.02 to 0.04 pJ per MAC of other work close on the claims.
SECOND_HAND = Operations(
    {"FP32": 2.311, "FP8": 0.105, "MLS": 0.124}, {"FP32": 0.512, "FP8": 0.512, "MLS": 0.065}, 0.512, (0.02, 0.04)
)


def sourced() -> Operations:
    """The same operations by :mod:`dse.hardware.prices.arithmetic` (Horowitz, ISSCC 2014; Aladdin, ISCA 2014), 45 nm.

    MLS <2,4>: a 5 x 5 bit multiplier, two exponents added, a shift by up to 6 places, an addition of 20 bits. FP8: E4M3 products
    added in FP32. Other work: vector operations of layers without MACs are added by :func:`other_work`.
    """
    mls_sum = float(int_add_pj(2) + shift_pj(20, 6) + int_add_pj(20))
    wide = float(float_add_pj(32))
    multiply = {
        "FP32": float(float_multiply_pj(24)),
        "FP8": float(float_multiply_pj(4)),
        "MLS": float(int_multiply_pj(5, 5)),
    }
    return Operations(multiply, {"FP32": wide, "FP8": wide, "MLS": mls_sum}, wide, (0.0, 0.0))


@dataclass(frozen=True)
class Counts:
    """Convolutions of a training step, per sample: MACs of all passes, additions between groups."""

    forward_macs: float
    macs: float
    tree_adds: float


def operation_counts(network: Network) -> Counts:
    """Operations of the convolutions of a network, per sample; the classifier stays in high precision, as published."""
    layers = [layer for layer in network.mac_layers if layer.kind == "conv"]
    forward = float(sum(layer.macs for layer in layers))
    adds = 0.0
    for layer in layers:
        groups = {
            "forward": layer.R * layer.S,
            "backward_data": layer.R * layer.S,
            "backward_weight": layer.P * layer.Q,
        }
        # A 1x1 filter has groups of one element: every product is added in floating point.
        adds += sum(layer.macs / groups[pass_] for pass_ in layer.passes)
    return Counts(forward, float(sum(layer.macs * len(layer.passes) for layer in layers)), adds)


def other_work(network: Network, operations: Operations) -> Operations:
    """The same operation energies with the network's vector operations, as floating-point additions, for other work per MAC."""
    count = sum(
        vector_work(layer, pass_, True).operations
        for layer in network.layers
        if not layer.has_macs
        for pass_ in layer.passes
    )
    each = operations.tree_add * count / operation_counts(network).macs
    return replace(operations, other=(each, each))


def unit_ratios(counts: Counts, operations: Operations) -> dict[str, tuple[float, float]]:
    """FP32 and FP8 energy over MLS, memory off: least and most over the other floating-point work."""
    found = {}
    adds = counts.tree_adds / counts.macs
    mls = operations.multiply["MLS"] + operations.accumulate["MLS"] + adds * operations.tree_add
    for form in CLAIMED:
        whole = operations.multiply[form] + operations.accumulate[form]
        ends = sorted((whole + other) / (mls + other) for other in operations.other)
        found[form] = (ends[0], ends[-1])
    return found


def closing_work(operations: Operations) -> float:
    """Other work (pJ per MAC, in every format) at which the largest FP32 ratio of :data:`NETWORKS` is the upper claim."""
    claim = CLAIMED["FP32"][1]
    whole = operations.multiply["FP32"] + operations.accumulate["FP32"]
    counts = [operation_counts(load_workload(name)) for name in NETWORKS]
    adds = min(count.tree_adds / count.macs for count in counts)
    narrow = operations.multiply["MLS"] + operations.accumulate["MLS"] + adds * operations.tree_add
    return (whole - claim * narrow) / (claim - 1.0)


def trainers() -> dict[str, tuple[Hardware, str]]:
    """``mls_unit`` and its array with FP8 and FP32 elements and registers for as many words; with the format each trains in."""
    base = load_hardware("mls_unit")
    result = {"MLS": (base, "mls_e2m4")}
    for name, significand, exponent, bits, form in (("FP8", 4, 5, 8, "fp8_e4m3"), ("FP32", 24, 8, 32, "fp32")):
        element = ProcessingElement(
            "float",
            max_weight_bits=significand,
            max_activation_bits=significand,
            min_bits=1,
            significand_bits=significand,
            exponent_bits=exponent,
        )
        elements = base.memories[0].size_bits / base.pe.max_weight_bits
        registers = replace(base.memories[0], size_bits=elements * bits)
        hardware = replace(
            base, name=f"{name} in mls_unit's array", pe=element, memories=(registers, *base.memories[1:])
        )
        result[name] = (hardware, form)
    return result


def with_memory(network: Network) -> dict[str, dict[str, float]]:
    """Energy (J) and time (s) of a training step by format, all of evaluate."""
    result = {}
    for name, (hardware, form) in trainers().items():
        plan = Plan.uniform(network, form, form, form)
        total = evaluate(network, hardware, plan, search_mappings=False).total.iloc[0]
        result[name] = {
            "energy_j": float(total["energy_j"]),
            "latency_s": float(total["latency_s"]),
            "mac_j": float(total["mac_j"]),
            "dram_j": float(total["dram_j"]),
        }
    return result


def study() -> Study:
    """Ratios with memory off against the claims, and with memory on."""
    rows = []
    for label, operations in (("second-hand", SECOND_HAND), ("sourced", sourced())):
        unit = {}
        for name in NETWORKS:
            network = load_workload(name)
            priced = other_work(network, operations) if label == "sourced" else operations
            unit[name] = unit_ratios(operation_counts(network), priced)
        for form, claim in CLAIMED.items():
            for name, ratios in unit.items():
                low, high = ratios[form]
                assumed = (
                    "other floating-point work 0.02 to 0.04 pJ per MAC in every format"
                    if high > low
                    else "Horowitz, Aladdin; other work: vector operations of layers without MACs"
                )
                rows.append(
                    Claim(
                        "MLS <2,4>",
                        f"{form} over MLS",
                        "x",
                        (low + high) / 2.0,
                        *claim,
                        low=low,
                        high=high,
                        assumed=assumed,
                        subject=f"computing units, {name}, {label} operation energies",
                        key=(form, name, label),
                    )
                )
    step = {name: with_memory(load_workload(name)) for name in ("imagenet_resnet", "cifar_resnet20")}
    assumed = "training step by evaluate: MACs, registers, buffer, DRAM, layers without MACs, optimizer; same array and memories"
    for name, costs in step.items():
        for form in CLAIMED:
            for quantity, label in (("energy_j", "energy"), ("latency_s", "time"), ("mac_j", "MAC energy")):
                ratio = costs[form][quantity] / costs["MLS"][quantity]
                rows.append(
                    Claim(
                        "MLS <2,4>",
                        f"{form} over MLS",
                        "x",
                        ratio,
                        assumed=assumed,
                        subject=f"{label} with memory, {name}",
                    )
                )
    rows += [
        Claim("MLS <2,4>", "top-1 lost on ImageNet", "points", published=1.0, subject="at most"),
        Claim("MLS <2,1>", "top-1 lost on CIFAR-10", "points", published=1.0, subject="at most"),
    ]
    return Study(
        "mls",
        "MLS: multi-level scaling format",
        "K. Zhong et al., Exploring the Potential of Low-Bit Training of CNNs (multi-level scaling), arXiv "
        "2006.02804v4, TCAD 2022",
        _findings(rows, step),
        tuple(rows),
        _figures(rows, step),
        "formats, groups, the claimed ranges; the operation energies are second hand",
        "sourced operation energies, array, memories, mapping; the classifier is left out of the counts, not of evaluate",
    )


def _findings(rows: list[Claim], step: dict[str, dict[str, dict[str, float]]]) -> tuple[str, ...]:
    text = []
    for label in ("second-hand", "sourced"):
        spans = []
        for form, (low, high) in CLAIMED.items():
            these = rows_of(rows, form, None, label)
            ours = (min(row.low or 0.0 for row in these), max(row.high or 0.0 for row in these))
            spans.append(f"{form} over MLS {ours[0]:.1f} to {ours[1]:.1f} (claimed {low} to {high})")
        text.append(f"Memory off, {label} operation energies: {', '.join(spans)}.")
    closing = {label: closing_work(item) for label, item in (("second-hand", SECOND_HAND), ("sourced", sourced()))}
    vector = [other_work(load_workload(name), sourced()).other[0] for name in NETWORKS]
    text.append(
        f"FP32's upper claim needs {closing['second-hand']:.3f} pJ per MAC of other floating-point work in every format "
        f"with the second-hand energies, {closing['sourced']:.3f} with the sourced ones; layers without MACs are "
        f"{min(vector):.3f} to {max(vector):.3f} of that."
    )
    costs = step["imagenet_resnet"]
    ratios = {form: costs[form]["energy_j"] / costs["MLS"]["energy_j"] for form in CLAIMED}
    share = costs["MLS"]["mac_j"] / costs["MLS"]["energy_j"]
    text.append(
        f"Memory on, ResNet-18 on ImageNet: FP32 takes {ratios['FP32']:.1f} times and FP8 {ratios['FP8']:.2f} times the "
        "energy of MLS; "
        f"its MACs are {share:.0%} of the step."
    )
    return tuple(text)


def _figures(rows: list[Claim], step: dict[str, dict[str, dict[str, float]]]) -> tuple[tuple[str, go.Figure], ...]:
    chart = {
        label: {name: rows_of(rows, "FP32", name, label)[0].ours or 0.0 for name in NETWORKS}
        for label in ("second-hand", "sourced")
    }
    chart["with memory"] = {name: costs["FP32"]["energy_j"] / costs["MLS"]["energy_j"] for name, costs in step.items()}
    return (("FP32 over MLS, energy: computing units alone, and a whole training step", bars(chart, "x")),)
