"""FracTrain: widths that rise as the loss settles (Fu et al., NeurIPS 2020; code RICE-EIC/FracTrain, MIT).

Theirs: forward widths 3-4-6-8 with backward widths 6-6-8-8, raised when the loss is flat over four epochs, and a table of
effective MACs (MACs b1 b2 / 1024), energy and time of static 8-bit training and of their dynamic method on an accelerator with
flexible multipliers. Ours: the same counts, and what bit_fusion with its memories makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.precision import Plan, Schedule
from dse.studies.study import Claim, Study, lines, rows_of
from dse.workload import load_workload

#: 64,000 iterations of 128 samples (CPT's and FracTrain's CIFAR recipe).
QUARTERS = "rising at quarters"
ITERATIONS = 64_000


@dataclass(frozen=True)
class Measured:
    """A row of their CIFAR table: effective MACs, kJ, minutes; whether all widths stay at 8 bits."""

    network: str
    method: str
    static: bool
    effective_macs: float
    energy_kj: float
    minutes: float


#: Static 8/8 (SBM, and others for the first network) and the dynamic method with a 3 % target, CIFAR-10.
TABLE = (
    Measured("cifar_resnet38", "WAGEUBN 8/8", True, 1.11e14, 31.63, 292.74),
    Measured("cifar_resnet38", "DoReFa 8/8", True, 1.21e14, 34.34, 317.83),
    Measured("cifar_resnet38", "SBM 8/8", True, 1.18e14, 33.55, 310.47),
    Measured("cifar_resnet38", "dynamic DFQ", False, 4.96e13, 23.97, 230.32),
    Measured("cifar_resnet74", "SBM 8/8", True, 2.62e14, 75.01, 692.29),
    Measured("cifar_resnet74", "dynamic DFQ", False, 7.33e13, 35.88, 343.76),
)
#: Their law through the table: cost per MAC = constant + slope f, f the mean of b1 b2 / 1024; pJ and ps.
LAW = {"energy_j": (11.7, 98.8), "latency_s": (7.08, 45.2)}


def law() -> dict[str, tuple[float, float]]:
    """Our constant and slope of cost per MAC (pJ, ps) through static training at 8, 4 and 2 bits on bit_fusion."""
    network = load_workload("cifar_resnet38")
    plans = [Plan.from_bits(network, bits, bits, bits) for bits in (8, 4, 2)]
    total = evaluate(network, load_hardware("bit_fusion"), plans, search_mappings=False).total
    f = (total["bitops"] / total["macs"] / 1024.0).to_numpy()
    result = {}
    for quantity in LAW:
        slope, constant = np.polyfit(f, (total[quantity] / total["macs"]).to_numpy() * 1e12, 1)
        result[quantity] = (float(constant), float(slope))
    return result


def progressive(switches: tuple[float, float, float] = (0.25, 0.5, 0.75)) -> Schedule:
    """Widths that rise at these shares of the run."""
    return Schedule.progressive([round(share * ITERATIONS) for share in switches], ITERATIONS)


def study() -> Study:
    """Effective MACs, energy and time per MAC, the share that does not shrink with bits, and progressive schedules."""
    rows = []
    hardware = load_hardware("bit_fusion")
    for name in ("cifar_resnet38", "cifar_resnet74"):
        network = load_workload(name)
        total = evaluate(network, hardware, Schedule.static("w8a8e8", ITERATIONS), search_mappings=False).total.iloc[0]
        ours = {"effective": float(total["bitops"]) / 1024.0, "kJ": float(total["energy_j"]) / 1e3}
        minutes = float(total["latency_s"]) / 60.0
        for item in TABLE:
            if item.network == name and item.static:
                assumed = "64,000 iterations of 128; which layers and passes theirs counts is not stated"
                rows.append(
                    Claim(
                        item.method,
                        "effective MACs",
                        "TMAC",
                        ours["effective"] / 1e12,
                        item.effective_macs / 1e12,
                        assumed=assumed,
                        subject=name,
                    )
                )
                assumed = "bit_fusion, 16x32 units at 45 nm with 15 pJ/bit DRAM; theirs: configuration not stated"
                rows.append(
                    Claim(item.method, "energy", "kJ", ours["kJ"], item.energy_kj, assumed=assumed, subject=name)
                )
                rows.append(Claim(item.method, "time", "min", minutes, item.minutes, assumed=assumed, subject=name))
    found = law()
    for quantity, label in (("energy_j", "energy"), ("latency_s", "time")):
        share, theirs = (constant / (constant + slope / 16.0) for constant, slope in (found[quantity], LAW[quantity]))
        assumed = "line through static 8, 4 and 2 bits, which its elements multiply as they are, cifar_resnet38"
        rows.append(
            Claim("static 8/8", f"share of {label} that does not shrink with bits", "", share, theirs, assumed=assumed)
        )
    total = evaluate(
        load_workload("cifar_resnet38"), hardware, Schedule.static("w8a8e8", 1), search_mappings=False
    ).total.iloc[0]
    kept = 1.0 - float(total["mac_j"]) / float(total["energy_j"])
    assumed = "tensors stay at 8 bits in every memory: all but the energy of the MACs"
    rows.append(
        Claim(
            "static 8/8, stored at 8 bits",
            "share of energy that does not shrink with bits",
            "",
            kept,
            theirs_share(),
            assumed=assumed,
            key=("stored at 8 bits",),
        )
    )
    rows += [*_dynamic_rows(found), *_progressive_rows()]
    return Study(
        "fractrain",
        "FracTrain: progressive precision",
        "Y. Fu et al., FracTrain: Fractionally Squeezing Bit Savings Both Temporally and Spatially, NeurIPS 2020; code "
        "RICE-EIC/FracTrain",
        _findings(found, rows),
        tuple(rows),
        _figures(found),
        "widths, plateau rule, the table of effective MACs, energy and time",
        "where the widths rise (quarters of the run; the losses were not published), hardware, mapping and memory; the dynamic "
        "method skips work per input, which is not modelled",
    )


def theirs_share() -> float:
    """Share of the energy of 8-bit training that does not shrink with bits by :data:`LAW`."""
    constant, slope = LAW["energy_j"]
    return constant / (constant + slope / 16.0)


def _dynamic_rows(found: dict[str, tuple[float, float]]) -> list[Claim]:
    """Their dynamic method against static 8/8 at the effective MACs that it reports, by our law."""
    rows = []
    table = {(item.network, item.method): item for item in TABLE}
    for name in ("cifar_resnet38", "cifar_resnet74"):
        static, dynamic = table[name, "SBM 8/8"], table[name, "dynamic DFQ"]
        left = dynamic.effective_macs / static.effective_macs
        for quantity, label, published in (
            ("energy_j", "energy", dynamic.energy_kj / static.energy_kj),
            ("latency_s", "time", dynamic.minutes / static.minutes),
        ):
            constant, slope = found[quantity]
            ours = (constant + slope * left / 16.0) / (constant + slope / 16.0)
            assumed = f"{left:.2f} of the effective MACs by narrower widths alone; theirs also skips layers per input"
            what = f"{label} of the dynamic method relative to static 8/8"
            rows.append(Claim("dynamic DFQ", what, "", ours, published, assumed=assumed, subject=name))
    return rows


def _progressive_rows() -> list[Claim]:
    network, hardware = load_workload("cifar_resnet38"), load_hardware("bit_fusion")
    base = evaluate(network, hardware, Schedule.static("w8a8e8", ITERATIONS), search_mappings=False).total.iloc[0]
    rows = []
    for label, switches in (
        (QUARTERS, (0.25, 0.5, 0.75)),
        ("rising early", (0.1, 0.2, 0.3)),
        ("rising late", (0.5, 0.7, 0.9)),
    ):
        total = evaluate(network, hardware, progressive(switches), search_mappings=False).total.iloc[0]
        for quantity, what in (("bitops", "BitOps"), ("latency_s", "time"), ("energy_j", "energy")):
            saved = 100.0 * (1.0 - float(total[quantity]) / float(base[quantity]))
            rows.append(
                Claim(
                    f"3-4-6-8 / 6-6-8-8, {label}",
                    f"{what} saved against 8/8",
                    "%",
                    saved,
                    key=(label, what),
                    subject="cifar_resnet38",
                )
            )
    return rows


def _findings(found: dict[str, tuple[float, float]], rows: list[Claim]) -> tuple[str, ...]:
    constant, slope = found["energy_j"]
    kept = rows_of(rows, "stored at 8 bits")[0].ours
    saved = {row.key[1]: row.ours for row in rows_of(rows, QUARTERS, None)}
    return (
        f"On bit_fusion {constant / (constant + slope / 16.0):.0%} of the energy of 8-bit training does not shrink with "
        "bits if tensors "
        f"are stored as narrow as they are, {kept:.0%} if they stay at 8 bits; their table implies "
        f"{theirs_share():.0%}, in between.",
        f"Progressive widths that rise at quarters of the run save {saved['BitOps']:.0f} % of BitOps, "
        f"{saved['time']:.0f} % of time and "
        f"{saved['energy']:.0f} % of energy on bit_fusion.",
    )


def _figures(found: dict[str, tuple[float, float]]) -> tuple[tuple[str, go.Figure], ...]:
    f = [0.01 * k for k in range(1, 8)]
    chart = {
        label: (f, [constant + slope * x for x in f])
        for label, (constant, slope) in (("their table's law", LAW["energy_j"]), ("bit_fusion", found["energy_j"]))
    }
    return (("Energy per MAC against the mean product of widths", lines(chart, "mean of b1 b2 / 1024", "pJ")),)
