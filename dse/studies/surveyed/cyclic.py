"""Systems whose widths cycle, are learned over time or drawn at random.

CycleBNN (Fontana et al., CADL at ECCV 2024, arXiv 2410.00050, code fedeloper/CycleBNN): CPT on binary networks; its code counts the
operations of a step as (w a + 2 w g) / 3 over 32 x 32 and gives widths of 2 to 6 forward and 8 backward.
Double-cyclic training (S. Kim and H. Kim, 2022): forward and backward widths cycle. LDP (Yu et al., arXiv 2203.07713): a width per
layer and time that is learned. Random precision switch (Fu et al., 2-in-1 Accelerator, MICRO 2021, arXiv 2109.05223, and Double-Win
Quant, ICML 2021): the width is drawn anew, against adversarial attacks. JNPU (ESSCIRC 2023): a chip with speculative cyclic
quantization, of which only the abstract was at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dse.hardware.model import Hardware
from dse.precision import Schedule
from dse.studies.devices import flexible
from dse.studies.study import Claim, Study, bars
from dse.studies.surveyed.ratios import Relative, relative_chart, relative_rows
from dse.studies.systems.cpt import relative_bitops
from dse.workload import load_workload

NETWORK = "cifar_resnet20"
ITERATIONS = 64_000
#: CycleBNN's cycles, and the two pairs of forward bounds: of its code's command, and CPT's.
CYCLES, CODE_BOUNDS, CPT_BOUNDS = 8, (2, 6), (3, 8)
#: Width of CycleBNN's gradients, and of what it is compared with, bits.
BACKWARD, FULL = 8, 32
#: Published share of operations saved in training, percent, by data.
CYCLEBNN = {"ImageNet": 96.09, "CIFAR-10": 88.88, "PASCAL VOC": 96.09}
#: LDP's saving of computational cost against the best other method, percent, and what it gains in accuracy, points.
LDP_COST, LDP_GAIN = 39.1, 0.31
#: JNPU: quantity, unit, published, why no figure of ours stands beside it.
JNPU = (
    ("rate", "TFLOPS", 1.04, "array, clock and node are not in the abstract"),
    ("training efficiency", "TFLOPS/W", 1.26, "array, supply and node are not in the abstract"),
    ("external memory traffic saved", "%", 87.5, "what it is compared with is not in the abstract"),
)


def counted_saving(low: int, high: int) -> float:
    """Percent of operations that CycleBNN's own count saves against 32-bit floats with some forward bounds."""
    schedule = Schedule.cyclic(low, high, BACKWARD, CYCLES, ITERATIONS)
    widths = [
        (float(plan.widths("weight")[0]), share) for plan, share in schedule.histogram(load_workload("cifar_resnet20"))
    ]
    cost = sum(share * (b * b + 2.0 * b * BACKWARD) / 3.0 for b, share in widths)
    return 100.0 * (1.0 - cost / FULL**2)


def ldp_width() -> float:
    """Forward width, constant over time, whose BitOps lie LDP's saving below those of CPT 3-8/8.

    w^2 + 2 * 8 w = 3 * 64 r, with r the relative BitOps against static 8/8.
    """
    left = (1.0 - LDP_COST / 100.0) * relative_bitops(Schedule.cyclic(3, 8, 8, 32, ITERATIONS), 8)
    return -8.0 + math.sqrt(64.0 + 192.0 * left)


def schedules() -> dict[str, Relative]:
    """What each system does over a run of :data:`ITERATIONS`, with integer formats."""
    width = ldp_width()
    below = math.floor(width)
    early = round((below + 1.0 - width) * ITERATIONS)
    parts = [(early, f"w{below}a{below}e8"), (ITERATIONS - early, f"w{below + 1}a{below + 1}e8")]
    return {
        "CycleBNN 2-6/8": Relative(
            Schedule.cyclic(*CODE_BOUNDS, BACKWARD, CYCLES, ITERATIONS),
            "bounds and cycles of its code's command; its binary layers run as 2 to 6 bits in training",
        ),
        "Double-cyclic 3-8/6-8": Relative(
            Schedule.cyclic(3, 8, 8, 32, ITERATIONS, backward_low=6),
            "bounds are ours (CPT's forward, 6 to 8 backward): no figure of it was at hand",
        ),
        "LDP, width of its saving": Relative(
            Schedule.piecewise(parts),
            "two widths in turn that cost what its abstract says, if the best other method is CPT 3-8/8",
        ),
        "Random precision switch 4-16": Relative(
            Schedule.random(4, 16, 16, ITERATIONS),
            "widths of 4 to 16 bits with equal shares, held for 100 steps; its gain is robustness",
            base="w16a16e16",
            wide=True,
        ),
    }


def study(hardware: Sequence[Hardware] = ()) -> Study:
    """Operations as published, and what the schedules cost against static 8/8 on hardware."""
    network = load_workload(NETWORK)
    rows = [
        *_published_rows(),
        *(
            row
            for name, item in schedules().items()
            for row in relative_rows(
                name,
                network,
                item.devices if item.wide else hardware or item.devices,
                item.schedule,
                Schedule.static(item.base, ITERATIONS),
                item.assumed,
            )
        ),
    ]
    device = flexible().name
    chart = relative_chart(rows, list(schedules()), device)
    return Study(
        "cyclic_relatives",
        "Relatives of cyclic precision: CycleBNN, double-cyclic, LDP, random precision switch, JNPU",
        "arXiv 2410.00050 and its code; abstracts of arXiv 2203.07713, 2109.05223 and of ESSCIRC 2023",
        (
            f"CycleBNN's own count saves {counted_saving(*CPT_BOUNDS):.2f} % with CPT's bounds 3-8/8, "
            f"{CYCLEBNN['ImageNet'] - counted_saving(*CPT_BOUNDS):.2f} points below the published, and "
            f"{counted_saving(*CODE_BOUNDS):.2f} % with the 2-6/8 of its code's command; which bounds gave 88.88 % on CIFAR-10 is "
            "not said.",
            f"LDP's saving of {LDP_COST} % against CPT 3-8/8 is that of a constant forward width of {ldp_width():.2f} bits.",
        ),
        tuple(rows),
        (("Costs of the schedules on " + device + ", relative to static training", bars(chart, "relative to static")),),
        "counts of operations, bounds and cycles of CycleBNN's code, LDP's saving",
        "bounds of double-cyclic training; what LDP compares with; the network (ResNet-20), hardware, mapping and memory",
    )


def _published_rows() -> list[Claim]:
    rows = []
    for data, published in CYCLEBNN.items():
        for bounds, origin in (
            (CPT_BOUNDS, "CPT's bounds, tried once those of the code had missed"),
            (CODE_BOUNDS, "bounds of its code's command"),
        ):
            rows.append(
                Claim(
                    f"CycleBNN {bounds[0]}-{bounds[1]}/8",
                    "operations saved against FP32",
                    "%",
                    counted_saving(*bounds),
                    published,
                    assumed=f"its own count, three passes in every layer; {origin}",
                    subject=data,
                    key=("operations", data, origin),
                )
            )
    rows.append(
        Claim(
            "LDP", "computational cost saved against the best other method", "%", None, LDP_COST,
            assumed="its widths are learned; no course of them was at hand", subject="ResNet-20 on CIFAR-10",
        )
    )  # fmt: skip
    rows.append(Claim("LDP", "top-1 gained", "points", published=LDP_GAIN, subject="ResNet-20 on CIFAR-10"))
    return rows + [
        Claim("JNPU", quantity, unit, None, published, assumed=why) for quantity, unit, published, why in JNPU
    ]
