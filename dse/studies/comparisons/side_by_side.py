"""The systems on the same hardware and network: energy, time and memory of a training run, accuracy where one was published.

ResNet-20 on CIFAR-10, 64,000 iterations of 128 samples. The first device has elements for 2 to 16 bits (``devices.flexible``)
and runs all of them; any other hardware can be asked for. A system's own hardware may suit it better (see its own study); here
only its formats and schedule count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from dse.cost import evaluate
from dse.hardware import load_hardware
from dse.hardware.model import Hardware
from dse.names import MAC_OPERANDS
from dse.precision import Plan, Schedule
from dse.precision.policies.rules import Overhead
from dse.report.figures import PALETTE
from dse.studies.devices import flexible, float32
from dse.studies.study import Claim, Study
from dse.studies.surveyed import adaptive, cyclic
from dse.studies.systems import accuracy_booster, adapt, adapt_model, dynasty, fractrain
from dse.workload import load_workload
from dse.workload.model import Network

NETWORK = "cifar_resnet20"
ITERATIONS = 64_000
BASELINE = "static int8"
SYMBOLS = ("circle", "diamond", "x", "square", "cross")


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
        *(Entry(name, item.schedule) for name, item in (cyclic.schedules() | adaptive.schedules()).items()),
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
    plan = Plan.from_formats(network, held).keep(ends, MAC_OPERANDS)
    return Schedule.static(plan, ITERATIONS)


def costs(network: Network, hardware: Hardware, entry: Entry) -> dict[str, float] | str:
    """Energy (J), time (s), power (W), BitOps and peak memory (bits) of a run of :data:`ITERATIONS`, or why it cannot run."""
    cost = evaluate(
        network, hardware, entry.schedule, overhead=entry.policy, map_updates=entry.map_updates, search_mappings=False
    )
    total = cost.total.iloc[0]
    if not total["feasible"]:
        return str(total["limit"])
    stretch = ITERATIONS / entry.schedule.iterations
    found = {name: float(total[name]) * stretch for name in ("energy_j", "latency_s", "bitops")}
    return {**found, "power_w": float(total["power_w"]), "peak_memory_bits": float(total["peak_memory_bits"])}


def devices() -> tuple[Hardware, ...]:
    """Where the systems run unless others are asked for."""
    return (flexible(), load_hardware("bit_fusion"))


def study(hardware: Sequence[Hardware] = ()) -> Study:
    """A table for each device, relative to static int8 on it, and a figure of the first one.

    Parameters
    ----------
    hardware
        Any devices, the first one with the figure; default: :func:`devices`. What a device cannot run is named.
    """
    network = load_workload(NETWORK)
    systems = entries(network)
    wide = Entry("float32 on FP32 elements", Schedule.static("fp32", ITERATIONS))
    rows: list[Claim] = []
    text: list[str] = []
    figures = []
    for device in hardware or devices():
        found = {entry.name: costs(network, device, entry) for entry in systems}
        if device.name == flexible().name:
            found[wide.name] = costs(network, float32(), wide)
        ran = {name: item for name, item in found.items() if not isinstance(item, str)}
        for entry in (*systems, wide):
            if entry.name in found:
                rows += _rows(entry, found[entry.name], ran.get(BASELINE), device)
        text += _findings(device, ran)
        stopped: dict[str, list[str]] = {}
        for name, item in found.items():
            if isinstance(item, str):
                stopped.setdefault(item, []).append(name)
        text += [f"{device.name}: {', '.join(names)} cannot run: {why}." for why, names in stopped.items()]
        figures.append(
            (
                f"Energy and time of a training run, {device.name}",
                _figure(ran, [*(entry.name for entry in systems), wide.name]),
            )
        )
    return Study(
        "side_by_side",
        "Side by side: the systems on the same devices",
        "schedules and formats of the other studies; accuracies of the publications named there",
        tuple(text),
        tuple(rows),
        tuple(figures),
        "formats, schedules, policies; accuracies, each against its own baseline",
        "network, devices (flexible 2-16: Bit Fusion's unit of 16 to 2 bits in dynasty_like's array), mapping, memory; "
        "DYNASTY's widths "
        "are measured means over layers, AdaPT's run is stretched, MLS runs on integer multipliers without its group adders",
    )


def _rows(entry: Entry, item: dict[str, float] | str, base: dict[str, float] | None, device: Hardware) -> list[Claim]:
    if isinstance(item, str):
        return [Claim(entry.name, "energy", "kJ", assumed=item, subject=device.name)]
    values = [
        ("energy", "kJ", item["energy_j"] / 1e3),
        ("time", "h", item["latency_s"] / 3600.0),
        ("power", "W", item["power_w"]),
    ]
    if base is not None:
        for what, key in (
            ("relative energy", "energy_j"),
            ("relative time", "latency_s"),
            ("relative BitOps", "bitops"),
        ):
            values.append((what, "", item[key] / base[key]))
    values.append(("peak memory", "Gbit", item["peak_memory_bits"] / 1e9))
    rows = [Claim(entry.name, what, unit, value, subject=device.name) for what, unit, value in values]
    if entry.accuracy is not None:
        published = entry.accuracy
        rows.append(
            Claim(entry.name, "top-1 gained", "points", published=published, assumed=entry.where, subject=device.name)
        )
    return rows


def _findings(device: Hardware, ran: dict[str, dict[str, float]]) -> list[str]:
    if BASELINE not in ran:
        return []
    base = ran[BASELINE]
    best = {
        key: min(ran, key=lambda name, key=key: ran[name][key])  # type: ignore[misc]
        for key in ("energy_j", "latency_s", "bitops")
    }
    share = {key: ran[name][key] / base[key] for key, name in best.items()}
    return [
        f"{device.name}: least energy with {best['energy_j']} ({share['energy_j']:.2f} of {BASELINE}), least time with "
        f"{best['latency_s']} ({share['latency_s']:.2f}), fewest BitOps with {best['bitops']} ({share['bitops']:.2f})."
    ]


def _figure(ran: dict[str, dict[str, float]], systems: list[str]) -> go.Figure:
    """A system looks the same in the figures of all devices, whichever of them runs it."""
    figure = go.Figure()
    for name, item in ran.items():
        # Colours repeat after one round of the palette; symbols do not repeat with them.
        turn, colour = divmod(systems.index(name), len(PALETTE))
        marker = {"size": 11, "symbol": SYMBOLS[turn % len(SYMBOLS)], "color": PALETTE[colour]}
        figure.add_scatter(
            name=name, x=[item["latency_s"] / 3600.0], y=[item["energy_j"] / 1e3], mode="markers", marker=marker
        )
    figure.update_layout(xaxis_title="time of the run, h", yaxis_title="energy of the run, kJ")
    return figure.update_xaxes(type="log").update_yaxes(type="log")
