"""The systems on the same hardware and network: energy, time and memory of a training run, accuracy where one was published.

ResNet-20 on CIFAR-10, 64,000 iterations of 128 samples, on an array whose elements multiply 2 to 16 bits
(``devices.flexible``): a device that runs all of them. A system's own hardware may suit it better (see its own study); here
only its formats and schedule count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware.model import Hardware
from dse.precision import Plan, Schedule
from dse.precision.policies import Overhead
from dse.studies import accuracy_booster, adapt, adapt_model, dynasty, fractrain
from dse.studies.devices import flexible, float32
from dse.studies.study import Row, Study
from dse.workload import load_workload
from dse.workload.model import Network

NETWORK = "cifar_resnet20"
ITERATIONS = 64_000
BASELINE = "static int8"


@dataclass(frozen=True)
class Entry:
    """A system in the table.

    Attributes
    ----------
    name
        With what it runs.
    schedule
        Of any length; its cost is stretched to :data:`ITERATIONS`.
    accuracy
        Published change of top-1 against the system's own baseline, points; None if none was at hand.
    where
        Network, data and baseline of that accuracy.
    policy
        Overhead of its decisions over its schedule.
    map_updates
        How often per step block widths are found anew.
    """

    name: str
    schedule: Schedule
    accuracy: float | None = None
    where: str = ""
    policy: Overhead | None = None
    map_updates: float = 0.0


def entries(network: Network) -> tuple[Entry, ...]:
    """All systems; the first is what the others are held against."""
    run = adapt_model.runs()[3]
    return (
        Entry(BASELINE, Schedule.static("w8a8e8", ITERATIONS)),
        Entry("static int16", Schedule.static("w16a16e16", ITERATIONS)),
        Entry(
            "CPT 3-8/8",
            Schedule.cyclic(3, 8, 8, 32, ITERATIONS),
            70.24 - 69.80,
            "ResNet-38, CIFAR-100, against static 8/8",
        ),
        Entry("Better Schedules RR 3-8/8", Schedule.better("RR", 3, 8, 8, 8, ITERATIONS)),
        Entry("Better Schedules ER 3-8/8", Schedule.better("ER", 3, 8, 8, 8, ITERATIONS)),
        Entry("FracTrain, rising at quarters", fractrain.progressive()),
        Entry(
            "AdaPT, ResNet-20 on CIFAR-10",
            adapt.schedule(run),
            0.98,
            "mean of its four runs, against float32",
            adapt.policy(network),
        ),
        Entry(
            "MLS <2,1>",
            Schedule.static("mls_e2m1", ITERATIONS),
            -1.0,
            "at least; ResNet-20, CIFAR-10, against float32",
        ),
        Entry("DYNASTY-like, measured widths", _blocks(network), map_updates=1.0),
        Entry("Accuracy Booster", accuracy_booster.schedule(network)),
        Entry("static int8, ActNN's stash", Schedule.static("w8a8e8", ITERATIONS).with_operand("stash", "actnn2")),
    )


def _blocks(network: Network) -> Schedule:
    """The measured histograms of DYNASTY-like, mean over the layers that were measured, in all layers but the ends."""
    table = dynasty.measured()
    table = table[
        (table["threshold"] == dynasty.kept_threshold()) & (table["layer"] != "") & (table["layer"] != "conv1")
    ]
    columns = {bits: f"bits{bits}" for bits in dynasty.WIDTHS}
    means = {
        operand: {bits: float(found[column].astype(float).mean()) for bits, column in columns.items()}
        for operand, found in table.groupby("operand")
    }
    held = {
        str(operand): dynasty.histogram({bits: x / sum(shares.values()) for bits, x in shares.items()})
        for operand, shares in means.items()
    }
    ends = {layer.name: dynasty.BASELINE for layer in (network.mac_layers[0], network.mac_layers[-1])}
    plan = Plan.from_formats(network, held).keep(ends, dynasty.OPERANDS)
    return Schedule.static(plan, ITERATIONS)


def costs(network: Network, hardware: Hardware, entry: Entry) -> dict[str, float]:
    """Energy (J), time (s), power (W), BitOps and peak memory (bits) of a run of :data:`ITERATIONS`."""
    cost = evaluate(network, hardware, entry.schedule, overhead=entry.policy, map_updates=entry.map_updates)
    total = cost.total.iloc[0]
    stretch = ITERATIONS / entry.schedule.iterations
    found = {name: float(total[name]) * stretch for name in ("energy_j", "latency_s", "bitops")}
    return {**found, "power_w": float(total["power_w"]), "peak_memory_bits": float(total["peak_memory_bits"])}


def study() -> Study:
    """One table, relative to static int8, and one figure."""
    network, hardware = load_workload(NETWORK), flexible()
    systems = entries(network)
    found = {entry.name: costs(network, hardware, entry) for entry in systems}
    wide = Entry("float32 on FP32 elements", Schedule.static("fp32", ITERATIONS))
    found[wide.name] = costs(network, float32(), wide)
    base = found[BASELINE]
    rows = []
    for entry in (*systems, wide):
        ours = found[entry.name]
        rows += [
            Row(entry.name, "energy", "kJ", ours["energy_j"] / 1e3),
            Row(entry.name, "time", "h", ours["latency_s"] / 3600.0),
            Row(entry.name, "power", "W", ours["power_w"]),
            Row(entry.name, "relative energy", "", ours["energy_j"] / base["energy_j"]),
            Row(entry.name, "relative time", "", ours["latency_s"] / base["latency_s"]),
            Row(entry.name, "relative BitOps", "", ours["bitops"] / base["bitops"]),
            Row(entry.name, "peak memory", "Gbit", ours["peak_memory_bits"] / 1e9),
        ]
        if entry.accuracy is not None:
            rows.append(Row(entry.name, "top-1 gained", "points", published=entry.accuracy, assumed=entry.where))
    return Study(
        "side_by_side",
        "Side by side: the systems on one device",
        "schedules and formats of the other studies; accuracies of the publications named there",
        _findings(found),
        tuple(rows),
        _figures(found),
        "formats, schedules, policies; accuracies, each against its own baseline",
        f"hardware ({hardware.name}: Bit Fusion's flexible unit of 16 to 2 bits in dynasty_like's array, "
        f"{hardware.node_nm:g} nm), "
        "mapping, memory; DYNASTY's widths are measured means over layers, AdaPT's run is stretched, MLS runs on "
        "integer multipliers of "
        "its elements' width without its group adders",
    )


def _best(found: dict[str, dict[str, float]], of: Callable[[dict[str, float]], float]) -> str:
    return min(found, key=lambda name: of(found[name]))


def _findings(found: dict[str, dict[str, float]]) -> tuple[str, ...]:
    base = found[BASELINE]
    thrifty, quick = _best(found, lambda item: item["energy_j"]), _best(found, lambda item: item["latency_s"])
    fewest = _best(found, lambda item: item["bitops"])
    ratio = {
        name: (item["bitops"] / base["bitops"], item["energy_j"] / base["energy_j"]) for name, item in found.items()
    }
    return (
        f"Least energy: {thrifty} ({ratio[thrifty][1]:.2f} of {BASELINE}); least time: {quick} "
        f"({found[quick]['latency_s'] / base['latency_s']:.2f}); fewest BitOps: {fewest} ({ratio[fewest][0]:.2f}).",
        f"CPT 3-8/8 has {ratio['CPT 3-8/8'][0]:.2f} of the BitOps and {ratio['CPT 3-8/8'][1]:.2f} of the energy of "
        f"{BASELINE}; AdaPT's "
        f"words have {ratio['AdaPT, ResNet-20 on CIFAR-10'][0]:.1f} and {ratio['AdaPT, ResNet-20 on CIFAR-10'][1]:.1f} "
        "times as much.",
    )


def _figures(found: dict[str, dict[str, float]]) -> tuple[tuple[str, go.Figure], ...]:
    figure = go.Figure()
    for name, item in found.items():
        figure.add_scatter(
            name=name, x=[item["latency_s"] / 3600.0], y=[item["energy_j"] / 1e3], mode="markers", marker={"size": 11}
        )
    figure.update_layout(xaxis_title="time of the run, h", yaxis_title="energy of the run, kJ")
    figure.update_xaxes(type="log").update_yaxes(type="log")
    return (("Energy and time of a training run on one device", figure),)
