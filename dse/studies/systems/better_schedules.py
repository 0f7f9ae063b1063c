"""Better Schedules for low-precision training (Wolfe and Kyrillidis, arXiv 2403.02243): ten profiles of cyclic precision.

Theirs: linear, cosine, REX and exponential growth, repeated or in triangles, eight cycles between 3 and 8 bits, and the cost
of each in BitOps relative to static 8/8. REX grows as 0.1 u / (1 - 0.9 u), the mirror image of its usual decay
u / (0.1 + 0.9 u), and the exponential as 1 - e^(-4u): only so do the published relative BitOps come out
(:mod:`dse.precision.schedules.profiles`).
"""

from __future__ import annotations

from dse.cost import evaluate
from dse.precision import Schedule
from dse.precision.schedules.profiles import BETTER_SCHEDULES
from dse.studies.study import Claim, Study, bars, lines
from dse.studies.systems.cpt import ITERATIONS, devices, relative_bitops
from dse.workload import load_workload

LOW, HIGH, CYCLES = 3, 8, 8
NETWORK = "cifar_resnet20"
#: Device of the figure.
DEVICE = "bit_fusion"

#: Published relative BitOps of the ten schedules, 3-8/8: a figure, or the range of its group.
PUBLISHED = {
    **dict.fromkeys(("RR", "RTH"), (0.399, 0.399)),
    **dict.fromkeys(("LR", "LT", "CR", "CT", "RTV", "ETV"), (0.628, 0.637)),
    **dict.fromkeys(("ER", "ETH"), (0.822, 0.822)),
}


def study() -> Study:
    """Relative BitOps as published, and the time and energy that are left of their differences."""
    network = load_workload(NETWORK)
    static = Schedule.static(f"w{HIGH}a{HIGH}e{HIGH}", ITERATIONS).histogram(network)
    shares = {
        name: Schedule.better(name, LOW, HIGH, HIGH, CYCLES, ITERATIONS).histogram(network) for name in BETTER_SCHEDULES
    }
    plans = list(dict.fromkeys(plan for histogram in (*shares.values(), static) for plan, _ in histogram))
    cost = {hardware.name: evaluate(network, hardware, plans, search_mappings=False).total for hardware in devices()}
    rows = []
    chart: dict[str, dict[str, float]] = {"BitOps": {}, "time": {}, "energy": {}}
    for name, histogram in shares.items():
        low, high = PUBLISHED[name]
        formula = relative_bitops(Schedule.better(name, LOW, HIGH, HIGH, CYCLES, ITERATIONS), HIGH)
        assumed = "three passes in every layer; the range is that of the schedule's group" if high > low else ""
        rows.append(Claim(f"{name} 3-8/8", "BitOps relative to static 8/8", "", formula, low, high, assumed=assumed))
        chart["BitOps"][name] = formula
        for device, table in cost.items():
            for quantity, label in (("latency_s", "time"), ("energy_j", "energy")):
                used, whole = (
                    sum(share * float(table[quantity][plans.index(plan)]) for plan, share in item)
                    for item in (histogram, static)
                )
                where = f"{NETWORK} on {device}"
                assumed = "width changes left out"
                what = f"{label} relative to static 8/8"
                rows.append(Claim(f"{name} 3-8/8", what, "", used / whole, assumed=assumed, subject=where))
                if device == DEVICE:
                    chart[label][name] = used / whole
    courses = {
        name: _course(Schedule.better(name, LOW, HIGH, HIGH, CYCLES, 8_000)) for name in ("CR", "RR", "ER", "RTH")
    }
    best, worst = min(chart["BitOps"].values()), max(chart["BitOps"].values())
    quick, slow = min(chart["energy"].values()), max(chart["energy"].values())
    return Study(
        "better_schedules",
        "Better Schedules: ten profiles of cyclic precision",
        "C. R. Wolfe and A. Kyrillidis, Better Schedules for Low Precision Training of Deep Neural Networks, arXiv 2403.02243",
        (
            f"Relative BitOps span {best:.3f} to {worst:.3f}; the energy of the same schedules on bit_fusion spans "
            f"{quick:.3f} to {slow:.3f} ({NETWORK}).",
            "A schedule's order in time does not matter for its cost but for the number of width changes; profiles whose "
            "histograms are equal cost the same.",
        ),
        tuple(rows),
        (
            ("Cost of the ten schedules relative to static 8/8, on bit_fusion", bars(chart, "relative to static 8/8")),
            ("Four of the profiles over the first two cycles", lines(courses, "iteration", "bits", steps=True)),
        ),
        "profiles, chaining, eight cycles, bounds, relative BitOps (rounded to three digits, some as the range of a group)",
        "which way the asymmetric curves bend (from the published figures); network, hardware, mapping and memory",
    )


def _course(schedule: Schedule) -> tuple[list[float], list[float]]:
    """First iterations and forward widths of the phases of two cycles."""
    starts, widths, at = [], [], 0
    for plan, iterations in schedule.plans(load_workload(NETWORK)):
        if at >= 2 * schedule.iterations // CYCLES:
            break
        starts.append(float(at))
        widths.append(float(plan.widths("weight")[0]))
        at += iterations
    return starts, widths
