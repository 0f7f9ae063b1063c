"""Rows of the validation table on published systems: MLS, FracTrain, CPT, and Bit Fusion against other chips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dse.cost import evaluate
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.model import Hardware
from dse.hardware.pe import pe_mode
from dse.precision.plans.plan import Plan
from dse.precision.schedules.schedule import Schedule
from dse.studies.devices import widths_4_and_8
from dse.studies.systems import mls
from dse.studies.systems.fractrain import LAW
from dse.validation.eyeriss_chip import built_in_prices
from dse.validation.row import Kind, Row, range_row, row
from dse.workload import load_workload
from dse.workload.model import Network

_MLS = "MLS, arXiv 2006.02804"
#: GMAC of the convolutions per image (forward, training) and additions of the tree per training MAC, from the layer shapes.
MLS_COUNTS = {
    "imagenet_resnet": (1.8136, 5.323, 0.0798),
    "imagenet_resnet34": (3.6632, 10.872, 0.0778),
    "imagenet_vgg16": (15.347, 45.95, 0.0743),
    "imagenet_googlenet": (1.5816, 4.627, 0.2099),
    "cifar_resnet20": (0.04055, 0.121, 0.0761),
}
#: CPT: bounds, published saving in BitOps against the static upper width, percent (Fu et al., ICLR 2021).
CPT_SAVINGS = ((3, 8, 36.67), (3, 6, 30.04), (4, 8, 30.2))
#: Bit Fusion's headlines: geometric means over its eight networks (ISCA 2018, abstract).
HEADLINES = {"eyeriss": (3.9, 5.1), "stripes_like": (2.6, 3.9)}
#: What pairs of figures are of, in their order.
_TIME_ENERGY: tuple[Kind, Kind] = ("time", "energy")
_ENERGY_TIME: tuple[Kind, Kind] = ("energy", "time")


def system_rows() -> list[Row]:
    """All rows on published systems."""
    return [*mls_rows(), *fractrain_rows(), *cpt_rows(), *headline_rows()]


def mls_rows() -> list[Row]:
    """Operation counts, and FP32/MLS and FP8/MLS energy of the computing units with sourced and with the paper's energies."""
    rows = []
    for name, published in MLS_COUNTS.items():
        found = mls.operation_counts(load_workload(name))
        counted = (found.forward_macs / 1e9, found.macs / 1e9, found.tree_adds / found.macs)
        labels = ("forward GMAC", "training GMAC", "tree additions per MAC")
        for label, unit, theirs, value in zip(labels, ("GMAC", "GMAC", ""), published, counted, strict=True):
            rows.append(
                row(
                    "count",
                    _MLS,
                    f"{name}: {label} of convolutions",
                    unit,
                    theirs,
                    value,
                    0.002,
                    "from the same shapes",
                )
            )
    sourced = "Horowitz's FP32 multiplication is 3.7 pJ where theirs is about 2.3; FP8 adds in FP32, 0.9 pJ of 1.13"
    second = "their energies of single operations, second hand, 0.02 to 0.04 pJ of other work per MAC (middle shown)"
    for label, operations, note in (
        ("sourced energies", mls.sourced(), sourced),
        ("the paper's energies", mls.SECOND_HAND, second),
    ):
        for name in mls.NETWORKS:
            ratios = mls.unit_ratios(mls.operation_counts(load_workload(name)), operations)
            for form, (low, high) in mls.CLAIMED.items():
                ours = float(np.mean(ratios[form]))
                rows.append(
                    range_row(
                        "energy", _MLS, f"{form} over MLS, units alone, {name}, {label}", "x", low, high, ours, note
                    )
                )
    return rows


def cost_per_mac(
    network: Network, hardware: Hardware, widths: Sequence[int], stored_bits: float | None = None
) -> list[tuple[float, float, float]]:
    """Mean of b1 b2 / 1024, pJ and ps per MAC of a training step's convolutions and products; other layers are left out.

    Parameters
    ----------
    widths
        Widths of every operand in the multipliers, a result for each.
    stored_bits
        Width of every element in the memories; None: that of the multipliers.
    """
    plans = [Plan.from_bits(network, bits, bits, bits) for bits in widths]
    work = network_jobs(network, hardware, plans)
    jobs = work.jobs
    if stored_bits is not None:
        same = {name: np.full_like(getattr(jobs, name), stored_bits) for name in ("stored_bits", "dram_bits")}
        jobs = replace(jobs, **same)
    costs = best_jobs(hardware, hardware_arrays(hardware), jobs)
    macs = float(work.macs.sum())
    found = []
    for plan in range(len(widths)):
        runs = work.job[plan] >= 0
        jobs_run, times = work.job[plan][runs], work.times[runs]
        picojoules = float((costs.energy_pj[0, jobs_run] * times).sum())
        cycles = float((costs.cycles[0, jobs_run] * times).sum())
        f = float(work.bitops[plan].sum()) / macs / 1024.0
        found.append((f, picojoules / macs, cycles / macs / hardware.clock_hz * 1e12))
    return found


def fractrain_rows(name: str = "cifar_resnet38") -> list[Row]:
    """FracTrain's law on ``bit_fusion``, batches of 128: tensors kept in memory as 32-bit words, or at the multipliers' width.

    The ends of the range of f in its table are 8/8 and about 4/4; law and model are linear in the share of each between them.
    """
    network, hardware = load_workload(name), load_hardware("bit_fusion")
    words = (
        "tensors lie in memory as 32-bit words and are narrowed as they are read, the unknown that decides the law's constant; "
        "ours is the best mapping, theirs is not said"
    )
    narrow = "tensors lie in memory at the multipliers' width: DRAM traffic is a third or less of what the law implies"
    rows = []
    for stored, label, note in ((32.0, "32-bit words", words), (None, "packed", narrow)):
        for bits, (f, *ours) in zip((8, 4), cost_per_mac(network, hardware, (8, 4), stored), strict=True):
            for kind, (constant, slope), value, unit in zip(
                _ENERGY_TIME, LAW.values(), ours, ("pJ", "ps"), strict=True
            ):
                what = f"{kind} per MAC at {bits}/{bits}, {name}, {label}"
                source = "FracTrain, NeurIPS 2020"
                rows.append(
                    row(
                        kind,
                        source,
                        what,
                        unit,
                        constant + slope * f,
                        value,
                        math.nan,
                        f"law through its table; {note}",
                    )
                )
    return rows


def cpt_rows() -> list[Row]:
    """BitOps that cyclic schedules save, and what is left of 3-8/8 on elements with 4 and 8 bits only."""
    network = load_workload("cifar_resnet20")
    rows = []
    for low, high, published in CPT_SAVINGS:
        saving = cyclic_saving(network, low, high, None)
        rows.append(
            row("count", "CPT, ICLR 2021", f"BitOps saved by {low}-{high}/{high}", "%", published, saving, 0.005)
        )
    saving = cyclic_saving(network, 3, 8, widths_4_and_8())
    note = "widths rounded up by the element's modes; derived from the published schedule"
    rows.append(
        row("count", "CPT, ICLR 2021", "BitOps saved by 3-8/8 on widths 4 and 8", "%", 21.6, saving, 0.005, note)
    )
    return rows


def cyclic_saving(network: Network, low: int, high: int, hardware: Hardware | None) -> float:
    """Percent of BitOps that a cyclic schedule saves against its upper width; on a device, of the widths that it really runs."""

    def product(a: float, b: float) -> float:
        if hardware is None:
            return a * b
        mode = pe_mode(hardware.pe, int(a), int(b))
        full = hardware.pe.max_weight_bits * hardware.pe.max_activation_bits
        return full * float(mode.step_cycles) / float(mode.lanes)

    def bitops(forward: float, backward: float) -> float:
        return product(forward, forward) + 2.0 * product(forward, backward)

    schedule = Schedule.cyclic(low=low, high=high, backward=high, cycles=32, iterations=64_000)
    used = sum(share * bitops(plan.widths("weight")[0], high) for plan, share in schedule.histogram(network))
    return 100.0 * (1.0 - used / bitops(high, high))


def headline_rows() -> list[Row]:
    """Bit Fusion against Eyeriss and Stripes on AlexNet: an inference of 16 images at 45 nm and 500 MHz.

    The published figures are means over eight networks; their widths by layer were not at hand, ours are 4 bits but for the
    first and last layer (8 bits); Eyeriss runs at 16 bits. Times are scaled to equal area of elements.
    """
    ours = load_hardware("bit_fusion")
    eyeriss = replace(
        built_in_prices(load_hardware("eyeriss")),
        node_nm=45.0,
        clock_hz=500e6,
        clock_pj_per_cycle=0.0,
        pe=replace(load_hardware("eyeriss").pe, area_um2=None),
    )
    stripes = replace(load_hardware("stripes_like"), node_nm=45.0, clock_hz=500e6)
    dram = ours.memories[-1]
    others = {
        name: replace(hardware, memories=(*hardware.memories[:-1], dram))
        for name, hardware in (("eyeriss", eyeriss), ("stripes_like", stripes))
    }
    network = replace(load_workload("imagenet_alexnet"), batch=16)
    rows = []
    names = {"eyeriss": "eyeriss", "stripes_like": "stripes"}
    for name, hardware in others.items():
        mine = _inference(network, ours, 4)
        theirs = _inference(network, hardware, 16 if name == "eyeriss" else 4)
        areas = [float(hardware_arrays(item).area_parts_mm2[0, 0]) for item in (hardware, ours)]
        speed, energy = theirs[0] / mine[0] * areas[0] / areas[1], theirs[1] / mine[1]
        note = "one of eight networks, widths and batch ours, its DRAM for all, equal area of elements"
        if name == "stripes_like":
            note += "; conv1 fills 3 of a serial tile's 16 lanes; its memories are our choice"
        for kind, what, published, value in zip(
            _TIME_ENERGY, ("speed", "energy"), HEADLINES[name], (speed, energy), strict=True
        ):
            rows.append(
                row(
                    kind,
                    "Bit Fusion, ISCA 2018",
                    f"{what} against {names[name]}, AlexNet",
                    "x",
                    published,
                    float(value),
                    note=note,
                )
            )
    return rows


def _inference(network: Network, hardware: Hardware, bits: int) -> tuple[float, float]:
    """Seconds and joules of the MAC layers of an inference; the first and the last keep 8 bits where the others have fewer."""
    layers = [layer.name for layer in network.mac_layers]
    kept = {} if bits >= 8 else {layers[0]: 8, layers[-1]: 8}
    plan = Plan.from_bits(network, bits, bits, bits, kept=kept)
    table = evaluate(network, hardware, plan, mode="inference", search_mappings=False).layers
    table = table[table["layer"].isin(layers)]
    return float(table["latency_s"].sum()), float(table["energy_j"].sum())
