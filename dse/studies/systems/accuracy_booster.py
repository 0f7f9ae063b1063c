"""Accuracy Booster: HBFP4, with HBFP6 in the last epoch and in the first and last layers (Harma et al., arXiv 2211.10737).

Theirs: block floating point of 4-bit mantissas in blocks of 64 for 99.7 % of the arithmetic of training, 6 bits in the last
epoch and the first and last layers, arithmetic density up to 21.3 times FP32's and 4.4 times bfloat16's, no loss of accuracy.
"""

from __future__ import annotations

import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.hardware.model import ProcessingElement
from dse.hardware.pe import pe_area_mm2
from dse.precision import Schedule
from dse.studies.study import Claim, Study, bars
from dse.workload import load_workload
from dse.workload.model import Network

EPOCHS = 160
ITERATIONS_PER_EPOCH = 391
NARROW, WIDE = "bfp4:64", "bfp6:64"
#: Published: share of arithmetic in 4 bits, percent; arithmetic density against FP32 and bfloat16.
SHARE_CLAIM, DENSITY_CLAIM = 99.7, {"FP32": 21.3, "BF16": 4.4}
NETWORKS = ("cifar_resnet20", "imagenet_resnet50")


def schedule(network: Network, epochs: int = EPOCHS) -> Schedule:
    """HBFP4, HBFP6 in the last epoch; the first and last layers with MACs stay in HBFP6."""
    ends = (network.mac_layers[0].name, network.mac_layers[-1].name)
    made = Schedule.piecewise([(epochs - 1, NARROW), (1, WIDE)], ITERATIONS_PER_EPOCH)
    return made.keep(dict.fromkeys(ends, WIDE))


def narrow_share(network: Network, epochs: int = EPOCHS) -> float:
    """Percent of the MACs of all passes and epochs whose operands both have 4 bits."""
    share = 0.0
    macs = [layer for layer in network.layers if layer.has_macs]
    work = sum(layer.macs * len(layer.passes) for layer in macs)
    for plan, part in schedule(network, epochs).histogram(network):
        names = dict(zip(plan.layers, plan.widths("weight"), strict=True))
        narrow = sum(layer.macs * len(layer.passes) for layer in macs if names[layer.name] == 4)
        share += part * narrow / work
    return 100.0 * share


def densities() -> dict[str, float]:
    """MACs per cycle and area of a 4-bit mantissa unit over those of FP32 and bfloat16 units, memories left out.

    Sums are as wide as the format, of mantissas as the product.
    """
    fixed = ProcessingElement("fixed", max_weight_bits=4, max_activation_bits=4, min_bits=4, accumulator_bits=8)
    narrow = float(pe_area_mm2(fixed))
    result = {}
    for name, significand in (("FP32", 24), ("BF16", 8)):
        unit = ProcessingElement(
            "float",
            max_weight_bits=significand,
            max_activation_bits=significand,
            significand_bits=significand,
            exponent_bits=8,
            accumulator_bits=significand + 8,
        )
        result[name] = float(pe_area_mm2(unit)) / narrow
    return result


def study() -> Study:
    """Share of 4-bit arithmetic and density against the claims; energy and time of a run on a flexible block-float device."""
    rows = [
        Claim(
            "Accuracy Booster",
            "MACs in 4 bits",
            "%",
            narrow_share(load_workload(name)),
            SHARE_CLAIM,
            assumed=SHARE,
            subject=name,
        )
        for name in NETWORKS
    ]
    for name, ratio in densities().items():
        assumed = "unit against unit, exponent logic of a block of 64 neglected; theirs is a whole accelerator"
        rows.append(
            Claim(
                "Accuracy Booster", f"arithmetic density over {name}", "x", ratio, DENSITY_CLAIM[name], assumed=assumed
            )
        )
    network = load_workload(NETWORKS[0])
    chart: dict[str, dict[str, float]] = {"time": {}, "energy": {}}
    for name in ("flexblock_like", "dynasty_like"):
        hardware = load_hardware(name)
        booster = evaluate(network, hardware, schedule(network), search_mappings=False).total.iloc[0]
        for form in ("bfp8:64", "bfp6:64", "bfp4:64"):
            static = Schedule.static(form, EPOCHS * ITERATIONS_PER_EPOCH)
            base = evaluate(network, hardware, static, search_mappings=False).total.iloc[0]
            for quantity, label in (("latency_s", "time"), ("energy_j", "energy")):
                ratio = float(booster[quantity]) / float(base[quantity])
                rows.append(
                    Claim(
                        "Accuracy Booster",
                        f"{label} relative to static {form}",
                        "x",
                        ratio,
                        subject=f"{network.name} on {name}",
                    )
                )
                chart[label][f"{name}, {form}"] = ratio
    eight = chart["energy"]["flexblock_like, bfp8:64"]
    return Study(
        "accuracy_booster",
        "Accuracy Booster: HBFP4 with HBFP6 at the ends",
        "S. B. Harma et al., Accuracy Booster: Enabling 4-bit Fixed-point Arithmetic for DNN Training, arXiv 2211.10737",
        (
            f"Of ResNet-20's arithmetic {rows[0].ours:.1f} % is in 4 bits ({SHARE_CLAIM} % claimed for their networks); "
            "on flexblock_like "
            f"the run takes {eight:.2f} times the energy of static HBFP8.",
        ),
        tuple(rows),
        _figures(chart),
        "formats, block size, where 6 bits stay, the claims",
        f"{EPOCHS} epochs of {ITERATIONS_PER_EPOCH} iterations, unit areas (densities), hardware, mapping and memory",
    )


SHARE = f"first and last layer with MACs and one of {EPOCHS} epochs in 6 bits; all passes of a layer count as its weight's width"


def _figures(chart: dict[str, dict[str, float]]) -> tuple[tuple[str, go.Figure], ...]:
    return (("Run of Accuracy Booster relative to static block floating point", bars(chart, "relative")),)
