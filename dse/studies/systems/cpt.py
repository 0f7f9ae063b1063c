"""CPT: cyclic precision training (Fu et al., ICLR 2021; code RICE-EIC/CPT, MIT), and what its schedules save on hardware.

Theirs: b(t) = rint(low + (high - low) / 2 (1 - cos(pi (t mod T) / T))) with 32 cycles for weights and activations of the whole
network, a constant width of the errors, and BitOps = MACs (bw ba + bw bg + ba bg) as the measure of cost.
"""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.cost.totals.evaluate import RUN_ROW
from dse.hardware import load_hardware
from dse.hardware.model import Hardware
from dse.names import PASSES
from dse.precision import Schedule
from dse.studies.devices import every_width, fixed_8, roomy, widths_4_and_8
from dse.studies.study import Claim, Study, bars, lines, rows_of
from dse.workload import load_workload
from dse.workload.model import Network

ITERATIONS = 64_000
CYCLES = 32

#: Network, low, high = backward width, published saving in BitOps against static high/high, percent (tables of the paper).
SAVINGS = (
    ("cifar_resnet38", 3, 8, 36.67, 36.67),
    ("cifar_resnet74", 3, 8, 36.67, 36.67),
    ("cifar_resnet38", 3, 6, 30.04, 30.04),
    ("imagenet_resnet", 4, 8, 30.2, 30.4),
)
#: Networks whose schedules are priced on every device; the others differ in depth alone.
PRICED = ("cifar_resnet38", "imagenet_resnet")

#: Why one pass takes most of the energy of devices with small output buffers.
SCATTERED = "a window's sums of 32 bits overflow the 16 KB output buffer, and the schedule does not narrow them"
#: Network, data, static 8/8, static 6/6, CPT's bounds, CPT; top-1 in percent (tables of the paper).
ACCURACIES = (
    ("ResNet-38", "CIFAR-100", 69.80, 68.19, "3-8/8", 70.24),
    ("ResNet-74", "CIFAR-100", 71.43, 70.31, "3-8/8", 72.35),
    ("MobileNetV2", "CIFAR-100", 75.28, 72.31, "3-8/8", 75.65),
    ("ResNet-18", "ImageNet", 69.60, 69.30, "4-8/8", 69.64),
    ("ResNet-34", "ImageNet", 73.32, 72.82, "4-8/8", 73.12),
    ("ResNet-50", "ImageNet", 76.29, 75.72, "4-8/8", 76.35),
)


def devices() -> tuple[Hardware, ...]:
    """Where the schedules are priced; all but the first differ from it in the element alone."""
    return (load_hardware("bit_fusion"), widths_4_and_8(), fixed_8(), every_width())


def savings(network: Network, hardware: Hardware, schedule: Schedule, high: int) -> dict[str, float]:
    """Percent of BitOps, time and energy that a schedule saves against static training at its upper width.

    Returns
    -------
    ``bitops``, ``latency_s``, ``energy_j``: a saving each.
    """
    static = Schedule.static(f"w{high}a{high}e{high}", schedule.iterations)
    ours, base = (evaluate(network, hardware, item, search_mappings=False).total.iloc[0] for item in (schedule, static))
    return {name: 100.0 * (1.0 - float(ours[name]) / float(base[name])) for name in ("bitops", "latency_s", "energy_j")}


def hardware_table() -> pd.DataFrame:
    """Savings of every schedule on every device: ``network, schedule, device, storage, bitops, latency_s, energy_j``, percent."""
    rows = []
    for name, low, high, *_ in SAVINGS:
        if name not in PRICED:
            continue
        network = load_workload(name)
        schedule = Schedule.cyclic(low, high, high, CYCLES, ITERATIONS)
        for hardware in (*devices(), roomy()):
            found = savings(network, hardware, schedule, high)
            rows.append((name, f"{low}-{high}/{high}", hardware.name, "packed", *found.values()))
        for hardware, widths in ((widths_4_and_8(), (4, 8)), (fixed_8(), (8,))):
            found = savings(network, hardware, schedule.rounded_up(widths), max(widths))
            rows.append((name, f"{low}-{high}/{high}", hardware.name, "rounded up", *found.values()))
    columns = ["network", "schedule", "device", "storage", "bitops", "latency_s", "energy_j"]
    return pd.DataFrame(rows, columns=columns)


def study() -> Study:
    """Savings in BitOps as published, then what they become in time and energy."""
    rows = []
    for name, low, high, published, published_to in SAVINGS:
        network = load_workload(name)
        schedule = Schedule.cyclic(low, high, high, CYCLES, ITERATIONS)
        counted = savings(network, load_hardware("bit_fusion"), schedule, high)["bitops"]
        rows.append(
            Claim(
                f"CPT {low}-{high}/{high}",
                "BitOps saved",
                "%",
                counted,
                published,
                published_to,
                assumed="counts of evaluate; the first layer has no backward_data, the paper counts three passes in every layer",
                subject=name,
            )
        )
        rows.append(
            Claim(
                f"CPT {low}-{high}/{high}",
                "BitOps saved",
                "%",
                100.0 * (1.0 - relative_bitops(schedule, high)),
                published,
                published_to,
                assumed="three passes in every layer",
                subject="the paper's formula",
            )
        )
    table = hardware_table()
    parts = _part_rows()
    rows += [*_hardware_rows(table), *parts, *_accuracy_rows()]
    return Study(
        "cpt",
        "CPT: cyclic precision training",
        "Y. Fu et al., CPT: Efficient Deep Neural Network Training via Cyclic Precision, ICLR 2021; code RICE-EIC/CPT",
        _findings(table, parts),
        tuple(rows),
        _figures(table),
        "the formula of the width, 32 cycles of 64,000 iterations of 128 samples, bounds, BitOps, accuracies",
        "hardware, mapping and memory; widths between those of the multiplier run as the next one, storage keeps its own",
    )


def _hardware_rows(table: pd.DataFrame) -> list[Claim]:
    storages = {
        "packed": "packed: tensors stored at the schedule's widths",
        "rounded up": "rounded up: tensors stored and multiplied at the device's own widths, as is the static run",
    }
    return [
        Claim(
            f"CPT {item['schedule']}",
            f"{label} saved",
            "%",
            float(item[quantity]),
            assumed=storages[str(item["storage"])],
            subject=f"{item['network']} on {item['device']}, {item['storage']}",
        )
        for item in table.to_dict("records")
        for quantity, label in (("bitops", "BitOps"), ("latency_s", "time"), ("energy_j", "energy"))
    ]


def _part_rows() -> list[Claim]:
    """Where a run's energy goes, and what changing widths costs: 191 times the array is set up and all weights are made anew."""
    network, schedule = load_workload(PRICED[0]), Schedule.cyclic(3, 8, 8, CYCLES, ITERATIONS)
    rows = []
    for hardware in devices():
        where = f"{network.name} on {hardware.name}"
        layers = evaluate(network, hardware, schedule, search_mappings=False).layers
        for name in PASSES:
            share = 100.0 * float(layers["energy_j"][layers["pass"] == name].sum()) / float(layers["energy_j"].sum())
            key = (name, network.name, hardware.name)
            what = f"energy of {name}"
            rows.append(Claim("CPT 3-8/8", what, "% of the run", share, assumed=SCATTERED, subject=where, key=key))
        changes = layers[layers["layer"] == RUN_ROW]
        for quantity, label in (("energy_j", "energy"), ("latency_s", "time")):
            share = 100.0 * float(changes[quantity].sum()) / float(layers[quantity].sum())
            what = f"{label} of {schedule.changes} width changes"
            rows.append(Claim("CPT 3-8/8", what, "% of the run", share, subject=where))
    return rows


def _accuracy_rows() -> list[Claim]:
    rows = []
    for network, data, static8, static6, bounds, reached in ACCURACIES:
        for system, value in ((f"CPT {bounds}", reached), ("static 8/8", static8), ("static 6/6", static6)):
            rows.append(Claim(system, "top-1", "%", published=value, subject=f"{network} on {data}"))
    return rows


def relative_bitops(schedule: Schedule, high: int) -> float:
    """BitOps against static high/high by the paper's formula: mean of bw ba + bw bg + ba bg over 3 high^2."""
    network = load_workload("cifar_resnet38")
    total = 0.0
    for plan, share in schedule.histogram(network):
        weight, activation, error = (float(plan.widths(operand)[0]) for operand in ("weight", "activation", "error"))
        total += share * (weight * activation + weight * error + activation * error)
    return total / (3.0 * high * high)


def _findings(table: pd.DataFrame, parts: list[Claim]) -> tuple[str, ...]:
    packed = table[(table["storage"] == "packed") & (table["schedule"] == "3-8/8")].set_index("device")
    text = []
    for device, row in packed.iterrows():
        text.append(
            f"{device}: 3-8/8 saves {row['bitops']:.1f} % of BitOps, {row['latency_s']:.1f} % of time and "
            f"{row['energy_j']:.1f} % of energy ({row['network']})."
        )
    rounded = table[(table["storage"] == "rounded up") & (table["schedule"] == "3-8/8")].iloc[0]
    text.append(
        f"With tensors stored at 4 and 8 bits alone, 3-8/8 saves {rounded['bitops']:.1f} % of BitOps, "
        f"{rounded['latency_s']:.1f} % of time and {rounded['energy_j']:.1f} % of energy on {rounded['device']}."
    )
    text.append(
        "BitOps see neither widths that a multiplier rounds up, nor memory, nor layers without MACs: time and energy "
        "save less than BitOps on every device, and a fixed 8-bit array saves only what narrower storage saves."
    )
    back = rows_of(parts, "backward_data", PRICED[0], "bit_fusion")[0].ours
    text.append(f"On bit_fusion {back:.0f} % of the energy of 3-8/8 is backward_data: {SCATTERED}.")
    return tuple(text)


def _figures(table: pd.DataFrame) -> tuple[tuple[str, go.Figure], ...]:
    schedule = Schedule.cyclic(3, 8, 8, CYCLES, ITERATIONS)
    starts, widths, at = [], [], 0
    for plan, iterations in schedule.plans(load_workload("cifar_resnet38")):
        starts.append(float(at))
        widths.append(float(plan.widths("weight")[0]))
        at += iterations
        if at > 2 * ITERATIONS // CYCLES:
            break
    shown = table[table["storage"] == "packed"]
    chart = {
        label: {f"{row['schedule']} {row['device']}": float(row[name]) for row in shown.to_dict("records")}
        for name, label in (("bitops", "BitOps"), ("latency_s", "time"), ("energy_j", "energy"))
    }
    return (
        ("Savings against static training at the upper width", bars(chart, "saved, %")),
        ("Two cycles of CPT 3-8/8", lines({"forward width": (starts, widths)}, "iteration", "bits", steps=True)),
    )
