"""DYNASTY-like: block-wise dynamic precision (Liu et al., ASP-DAC 2023, arXiv 2210.17047).

Theirs (abstract, and a reproduction's notes): block floating point in 4x4 blocks, widths per block from online sensitivity, up
to 5.1 times the speed and 4.7 times less energy than 8-bit training on CIFAR-100 and ImageNet, no accuracy drop, negligible
overhead. Its tables, formulas and hardware were not available. Ours: the rest, in ``dynasty_like`` and
:mod:`dse.precision.policies.blocks`, and histograms of widths measured on a small network that was trained with them
(``data/SOURCES.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.names import MAC_OPERANDS
from dse.precision import Histogram, Plan
from dse.studies.study import Claim, Study, lines
from dse.workload import load_workload
from dse.workload.model import Network

SPEED_CLAIM, ENERGY_CLAIM = 5.1, 4.7
WIDTHS = (2, 4, 6, 8)
NETWORKS = ("cifar_resnet18", "imagenet_resnet")
BASELINE = "bfp8:4x4"

#: Mixtures of two neighbouring widths in all tensors: (narrow, wide), share of the narrow one.
MIXTURES = tuple(((4, 8), share) for share in (0.0, 0.5)) + tuple(
    ((2, 4), share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)
)


@dataclass(frozen=True)
class Gain:
    """Against 8-bit block floating point in the same network: speed, energy; percent of energy that choosing widths costs.

    Attributes
    ----------
    arithmetic
        Energy of the MACs alone.
    analytics, map
        Percent of the energy of a step: finding widths for every block in every step, and storing and moving the map.
    """

    speed: float
    energy: float
    arithmetic: float
    analytics: float
    map: float


def histogram(shares: dict[int, float]) -> Histogram:
    """Of widths in 4x4 blocks."""
    return Histogram.of({f"bfp{bits}:4x4": share for bits, share in shares.items() if share > 0.0})


def mixture(network: Network, widths: tuple[int, int], narrow: float) -> Plan:
    """The same two widths in all tensors; the first convolution and the classifier keep 8 bits."""
    held = histogram({widths[0]: narrow, widths[1]: 1.0 - narrow})
    ends = {network.mac_layers[0].name: BASELINE, network.mac_layers[-1].name: BASELINE}
    plan = Plan.from_formats(network, dict.fromkeys(MAC_OPERANDS, held))
    return plan.keep(ends, MAC_OPERANDS)


@cache
def measured() -> pd.DataFrame:
    """Shares of the widths by threshold, layer and operand, and the accuracy of the small network that was trained with them."""
    with as_file(files("dse.studies") / "data" / "block_widths.csv") as path:
        return pd.read_csv(path, keep_default_na=False)


def measured_plan(network: Network, threshold: float) -> Plan:
    """Measured histograms, mean over the seeds, in the layers of the same name; layers that were not measured keep 8 bits."""
    table = measured()
    table = table[(table["threshold"] == threshold) & (table["layer"] != "")]
    means = table.groupby(["layer", "operand"])[[f"bits{bits}" for bits in WIDTHS]].mean().reset_index()
    formats: dict[str, dict[str, Histogram]] = {operand: {} for operand in MAC_OPERANDS}
    for item in means.to_dict("records"):
        shares = {bits: float(item[f"bits{bits}"]) for bits in WIDTHS}
        whole = sum(shares.values())
        formats[str(item["operand"])][str(item["layer"])] = histogram({bits: x / whole for bits, x in shares.items()})
    return Plan.from_formats(network, formats, default=BASELINE)


def mean_width(plan: Plan, network: Network) -> float:
    """Geometric mean over the MACs of all passes of the root of the product of both operands' mean widths."""
    means = {
        operand: {
            name: sum(form.element_bits * share for form, share in zip(choices.formats, row, strict=True))
            for name, row in zip(plan.layers, choices.shares, strict=True)
        }
        for operand in MAC_OPERANDS
        if (choices := plan.choices(operand))
    }
    pairs = {
        "forward": ("weight", "activation"),
        "backward_data": ("weight", "error"),
        "backward_weight": ("error", "activation"),
    }
    work = total = 0.0
    for layer in network.mac_layers:
        for pass_ in layer.passes:
            first, second = pairs[pass_]
            work += layer.macs * means[first][layer.name] * means[second][layer.name]
            total += layer.macs
    return float((work / total) ** 0.5)


def gains(network: Network, plans: list[Plan]) -> list[Gain]:
    """Speed and energy of a training step with online analytics in every step, against static 8-bit blocks without."""
    hardware = load_hardware("dynasty_like")
    base = evaluate(
        network, hardware, Plan.uniform(network, BASELINE, BASELINE, BASELINE), search_mappings=False
    ).total.iloc[0]
    table = evaluate(network, hardware, plans, map_updates=1.0, search_mappings=False).total
    given = evaluate(network, hardware, plans, map_updates=0.0, search_mappings=False).total
    result = []
    for number, plan in enumerate(plans):
        ours = table.iloc[number]
        energy = float(ours["energy_j"])
        result.append(
            Gain(
                speed=float(base["latency_s"]) / float(ours["latency_s"]),
                energy=float(base["energy_j"]) / energy,
                arithmetic=float(base["mac_j"]) / float(ours["mac_j"]),
                analytics=100.0 * (energy - float(given["energy_j"][number])) / energy,
                map=100.0 * _map_share(plan, network) * float(ours["dram_j"]) / energy,
            )
        )
    return result


def _map_share(plan: Plan, network: Network) -> float:
    """Share of the stored bits of the layers' operands that are map, weighted by the elements of each tensor in a step."""
    bits = whole = 0.0
    index = {name: k for k, name in enumerate(plan.layers)}
    for operand in MAC_OPERANDS:
        cells, stored = plan.cells(operand), plan.stored_bits(operand)
        for layer in network.mac_layers:
            elements = layer.parameters if operand == "weight" else layer.input_elements * network.batch
            cell = cells[index[layer.name]]
            bits += elements * (cell.map_bits if isinstance(cell, Histogram) else 0.0)
            whole += elements * float(stored[index[layer.name]])
    return bits / whole


#: Of one network: by what is gained, mean widths of the mixtures and the gains at them.
Curves = dict[str, tuple[list[float], list[float]]]


def study() -> Study:
    """Gains as a function of the histogram, which of them reach the claims, and the measured ones."""
    rows: list[Claim] = [
        Claim(
            "DYNASTY-like",
            "geometric mean of widths at which arithmetic alone reaches 5.1x",
            "bits",
            (64.0 / SPEED_CLAIM) ** 0.5,
            assumed="rate 64 / (b1 b2), no memory, no layer without MACs",
        )
    ]
    curves: dict[str, Curves] = {}
    points: dict[str, list[tuple[float, Gain, float]]] = {}
    needed: dict[str, tuple[float, float, float]] = {}
    for name in NETWORKS:
        network = load_workload(name)
        mixed = [mixture(network, widths, share) for widths, share in MIXTURES]
        thresholds = [float(value) for value in sorted(measured()["threshold"].unique()) if float(value) > 0.0]
        found = gains(network, [*mixed, *(measured_plan(network, threshold) for threshold in thresholds)])
        means = [mean_width(plan, network) for plan in mixed]
        for (widths, share), gain, mean in zip(MIXTURES, found, means, strict=False):
            parts = [f"{x:.0%} {bits} bit" for bits, x in zip(widths, (share, 1.0 - share), strict=True) if x > 0.0]
            what = f"{', '.join(parts)}, {name}"
            rows += _rows(what, gain, mean, "all tensors, first convolution and classifier at 8 bits")[:4]
        needed[name] = needed_mac_share(network, mixed[-1], found[len(mixed) - 1])
        gained = found[: len(mixed)]
        curves[name] = {
            "speed": (means, [gain.speed for gain in gained]),
            "energy": (means, [gain.energy for gain in gained]),
            "energy of the MACs alone": (means, [gain.arithmetic for gain in gained]),
        }
        points[name] = []
        for threshold, gain in zip(thresholds, found[len(mixed) :], strict=True):
            mean = mean_width(measured_plan(network, threshold), network)
            points[name].append((threshold, gain, mean))
            what = f"measured, threshold {threshold:g}, {name}"
            rows += _rows(what, gain, mean, "widths measured on the small network, map's share of DRAM energy")
            rows.append(Claim("DYNASTY-like", "top-1 of the small network", "%", accuracy(threshold), subject=what))
    rows += _accuracy_rows()
    rows += _claim_rows(points)
    return Study(
        "dynasty",
        "DYNASTY-like: widths by block",
        "R. Liu et al., DYNASTY: Block-Wise Dynamic-Precision Neural Network Training Acceleration, ASP-DAC 2023, "
        "arXiv 2210.17047 (abstract)",
        _findings(points, curves, needed),
        tuple(rows),
        _figures(points, curves),
        "4x4 blocks with a shared exponent, widths by online sensitivity, the claims",
        "hardware, sensitivity formula, thresholds, histograms (a quarter-width ResNet-18 on Fashion-MNIST, its shares "
        "carried over to "
        "the layers of the same name), operands' widths independent of each other",
    )


def accuracy(threshold: float) -> float:
    """Top-1 of the small network at a threshold, percent; 0: static 8-bit blocks, -1: float32."""
    table = measured()
    return float(table["accuracy_pct"][table["threshold"] == threshold].mean())


def drop(threshold: float) -> float:
    """Points of top-1 lost against static 8-bit blocks, mean over the seeds that both were trained with."""
    table = measured()
    ours, base = (
        table[table["threshold"] == value].groupby("seed")["accuracy_pct"].mean() for value in (threshold, 0.0)
    )
    return float((base - ours).dropna().mean())


def needed_mac_share(network: Network, narrowest: Plan, gain: Gain) -> tuple[float, float, float]:
    """Why the claimed energy is out of reach: what the MACs would have to take of the baseline's energy, and what they take.

    With the MACs a share m of the baseline, and everything else shrinking as the stored bits do at best, the gain is
    1 / (m / arithmetic + (1 - m) / storage).

    Parameters
    ----------
    narrowest, gain
        The narrowest plan and its gain.

    Returns
    -------
    How many times fewer bits the plan stores; the share that :data:`ENERGY_CLAIM` needs; the share of the baseline.
    """
    wide = Plan.uniform(network, BASELINE, BASELINE, BASELINE)
    stored = float(wide.stored_bits("activation").mean()) / float(narrowest.stored_bits("activation").min())
    total = evaluate(network, load_hardware("dynasty_like"), wide, search_mappings=False).total.iloc[0]
    share = (1.0 / stored - 1.0 / ENERGY_CLAIM) / (1.0 / stored - 1.0 / gain.arithmetic)
    return stored, share, float(total["mac_j"]) / float(total["energy_j"])


def _rows(what: str, gain: Gain, mean: float, assumed: str) -> list[Claim]:
    return [
        Claim("DYNASTY-like", "mean width", "bits", mean, assumed=assumed, subject=what),
        Claim("DYNASTY-like", "speed", "x", gain.speed, assumed=assumed, subject=what),
        Claim("DYNASTY-like", "energy", "x", gain.energy, assumed=assumed, subject=what),
        Claim("DYNASTY-like", "energy of the MACs alone", "x", gain.arithmetic, assumed=assumed, subject=what),
        Claim("DYNASTY-like", "analytics in every step", "% of energy", gain.analytics, assumed=assumed, subject=what),
        Claim("DYNASTY-like", "bit-width map", "% of energy", gain.map, assumed=assumed, subject=what),
    ]


def _accuracy_rows() -> list[Claim]:
    rows = []
    for threshold in sorted(measured()["threshold"].unique()):
        label = {-1.0: "float32", 0.0: "8-bit blocks"}.get(float(threshold), f"threshold {threshold:g}")
        assumed = "measured by benchmarks/measure_blocks.py, mean over the seeds"
        rows.append(
            Claim(
                "small network",
                "top-1 on Fashion-MNIST",
                "%",
                accuracy(float(threshold)),
                assumed=assumed,
                subject=label,
            )
        )
    return rows


#: Loss of accuracy that counts as none, points: two trainings of the same plan differ by as much (data/SOURCES.md).
TOLERATED = 0.3


def kept_threshold() -> float:
    """The loosest threshold at which the small network loses no more than :data:`TOLERATED` against 8-bit blocks."""
    found = [float(value) for value in measured()["threshold"].unique() if float(value) > 0.0]
    return max((value for value in found if drop(value) <= TOLERATED), default=min(found))


def _claim_rows(points: dict[str, list[tuple[float, Gain, float]]]) -> list[Claim]:
    rows = []
    for name, items in points.items():
        _, gain, mean = next(item for item in items if item[0] == kept_threshold())
        assumed = f"threshold {kept_threshold():g}, the loosest without loss on the small network; geometric mean {mean:.2f} bits"
        rows.append(
            Claim("DYNASTY-like", "speed without loss", "x", gain.speed, SPEED_CLAIM, assumed=assumed, subject=name)
        )
        rows.append(
            Claim("DYNASTY-like", "energy without loss", "x", gain.energy, ENERGY_CLAIM, assumed=assumed, subject=name)
        )
    return rows


def _reached(curve: tuple[list[float], list[float]], claim: float) -> str:
    """Mean width and mixture at which a curve over :data:`MIXTURES` reaches a claim, or how far it comes."""
    steps = [*zip(MIXTURES, *curve, strict=True)]
    for (((narrow, wide), start), before, low), ((pair, end), after, high) in pairwise(steps):
        if low <= claim <= high:
            way = (claim - low) / (high - low)
            share = start + way * ((end if pair == (narrow, wide) else 1.0) - start)
            return f"at {before + way * (after - before):.2f} bits ({share:.0%} {narrow} bit, {1.0 - share:.0%} {wide} bit)"
    return f"never (at most {max(curve[1]):.2f})"


def _findings(
    points: dict[str, list[tuple[float, Gain, float]]],
    curves: dict[str, Curves],
    needed: dict[str, tuple[float, float, float]],
) -> tuple[str, ...]:
    text = []
    for name, items in points.items():
        speed, energy, units = (
            _reached(curves[name][what], claim)
            for what, claim in (
                ("speed", SPEED_CLAIM),
                ("energy", ENERGY_CLAIM),
                ("energy of the MACs alone", ENERGY_CLAIM),
            )
        )
        text.append(
            f"{name}: mixtures in all tensors reach {SPEED_CLAIM} times the speed {speed}, {ENERGY_CLAIM} times less energy "
            f"{energy}, and {ENERGY_CLAIM} times less in the MACs alone {units}."
        )
        stored, wanted, taken = needed[name]
        text.append(
            f"{name}: stored bits shrink {stored:.1f} times at most, so that {ENERGY_CLAIM} times less energy needs MACs that take "
            f"{wanted:.0%} of the baseline's energy or more; here they take {taken:.0%}."
        )
        _, gain, mean = next(item for item in items if item[0] == kept_threshold())
        text.append(
            f"{name}: the measured widths without loss (mean {mean:.2f} bits) give {gain.speed:.2f} times the speed and "
            f"{gain.energy:.2f} times less energy ({gain.arithmetic:.2f} in the MACs alone); analytics cost "
            f"{gain.analytics:.1f} % and the map {gain.map:.1f} % of a step's energy, claimed negligible."
        )
    return tuple(text)


def _figures(
    points: dict[str, list[tuple[float, Gain, float]]], curves: dict[str, Curves]
) -> tuple[tuple[str, go.Figure], ...]:
    figures = []
    for name, items in points.items():
        figure = lines(curves[name], "mean width of the operands, bits", "gain against 8-bit blocks")
        for what in ("speed", "energy"):
            figure.add_scatter(
                name=f"{what}, measured widths",
                x=[mean for _, _, mean in items],
                y=[getattr(gain, what) for _, gain, _ in items],
                text=[f"threshold {threshold:g}" for threshold, _, _ in items],
                mode="markers",
                marker={"size": 9},
            )
        figures.append((f"Gain as a function of the histogram, {name}", figure))
    return tuple(figures)
