"""AdaPT: per-layer fixed point that follows training (Kummer et al., arXiv 2107.13490; code lorenz0890/AdaPT, no licence).

Theirs, rebuilt as formulas from the paper and a reading of the code: word lengths per layer over time (our reading of the published
heat maps, ``data/SOURCES.md``), and a performance model in which a multiply-add costs its word length, weights that are zero cost
nothing, and the backward passes cost as much as one forward pass in float32::

    S32 = 32 MAdds,  Sq = nz (WL MAdds + OH),  SU_train = 2 S32 / (Sq + S32),  SU_inf = S32 / (nz WL MAdds) at the end
    OH = 32 (PD + PU) interval / (lookback accumulation),  PD = 3 T 2 log2(WL - 8) bins nz,  PU = (lookback + 1) T + 1

Ours: the same traces with each layer's real MACs, then on hardware, where both operands have words and all three passes run.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dse.cost import evaluate
from dse.precision import Schedule
from dse.precision.policies import Overhead, adapt_published_overhead, push_down_overhead, push_up_overhead
from dse.precision.trace_file import Trace, read_trace
from dse.studies.devices import flexible, float32, serial_32
from dse.studies.study import Row, Study, bars, lines
from dse.workload import load_workload
from dse.workload.model import Network

Floats: TypeAlias = NDArray[np.float64]

ITERATIONS = 8_800
#: Samples per batch (configuration files).
BATCH = 512
#: What the corrected runs are held against.
REFERENCE = "FP32 elements in the same array"
THEIR_MODEL = (
    "their model with the costs that their code gives each layer; interval: lookback 25 to 100, 50 to 150 bins"
)
#: Iterations between two entries of the authors' log, which their overhead is charged for (configuration files: INTERVAL).
INTERVAL = 10
#: Bounds of lookback and histogram resolution (configuration files); the traces of both were not published.
LOOKBACKS, BINS = (25, 50, 100), (50, 100, 150)


@dataclass(frozen=True)
class RunOf:
    """One of the four runs.

    Attributes
    ----------
    name, network
        Of the data files, and of the shipped workload.
    layers
        Our layer of each column of the trace; None where our network has none (it shortens without convolutions).
    accumulation
        Batches per weight update (configuration files).
    su_train, su_inf, size
        As decoded from the authors' figures; SU_inf from the end of a cost curve that includes the overhead.
    """

    name: str
    network: str
    layers: tuple[str | None, ...]
    accumulation: int
    su_train: float
    su_inf: float
    size: float


def runs() -> tuple[RunOf, ...]:
    """The four published runs."""
    alexnet = tuple(layer.name for layer in load_workload("cifar_alexnet").mac_layers)
    resnet: list[str | None] = [layer.name for layer in load_workload("cifar_resnet20").mac_layers]
    for column in (9, 16):
        resnet.insert(column, None)
    return (
        RunOf("AlexNet_CIFAR100", "cifar_alexnet", alexnet, 4, 1.32, 2.57, 0.35),
        RunOf("AlexNet_CIFAR10", "cifar_alexnet", alexnet, 4, 1.42, 3.64, 0.54),
        RunOf("ResNet20_CIFAR100", "cifar_resnet20", tuple(resnet), 2, 1.13, 1.43, 0.575),
        RunOf("ResNet20_CIFAR10", "cifar_resnet20", tuple(resnet), 2, 1.20, 1.52, 0.60),
    )


#: Means over the four runs that the abstract claims: SU_train, SU_inf, size relative to float32.
CLAIMED = (1.27, 2.33, 0.52)


def words(run: RunOf) -> Trace:
    """Word lengths of a run."""
    with as_file(files("dse.studies") / "data" / "adapt" / f"words_{run.name}.csv") as path:
        return read_trace(path)


def over_time(trace: Trace) -> Floats:
    """Values of every iteration, shape (iterations, layers)."""
    lengths = np.diff(np.append(trace.iterations, ITERATIONS))
    return np.repeat(np.array(trace.widths, dtype=np.float64), lengths, axis=0)


def nonzero(run: RunOf) -> Floats:
    """Share of weights that are not zero in every iteration, shape (iterations, layers)."""
    with as_file(files("dse.studies") / "data" / "adapt" / f"zeros_{run.name}.csv") as path:
        table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.int64)
    lengths = np.diff(np.append(table[:, 0], ITERATIONS))
    return np.asarray(1.0 - np.repeat(table[:, 1:], lengths, axis=0) / 100.0)


# Their performance model -------------------------------------------------------------------------------------------


def published_madds(run: RunOf) -> tuple[Floats, Floats]:
    """Multiply-adds and weights T that their code charges each column of the trace for.

    Theirs: a table over **all** modules in order, convolutions 2 H W (C k + 1) K C with the size of their input, poolings and norms
    among them; the log, which lists the layers with weights alone, reads it from the top. So in AlexNet the word lengths
    of conv1, conv2, conv3, conv4, conv5 and fc meet the costs of conv1, pool1, conv2, pool2, conv3 and conv4. The published cost
    curves come out this way. They do not with each layer's own cost, nor with the repository's last version, which lists every
    convolution twice.
    """
    madds: list[float] = []
    weights: list[float] = []
    size, channels = 32, 3

    def conv(kernel: int, out: int, stride: int, pad: int, activation: bool, reads: int = 0) -> None:
        nonlocal size, channels
        after = (size + 2 * pad - kernel) // stride + 1
        cost = 2 * size * size * ((reads or channels) * kernel + 1) * out * channels
        madds.append(float(cost + activation * after * after * channels))
        weights.append(float(kernel * kernel * out))
        size, channels = after, out

    def pool() -> None:
        nonlocal size
        weights.append(float(size * size * channels))
        size //= 2
        madds.append(float(size * size * channels))

    def norm(activation: bool) -> None:
        weights.append(float(size * size * channels))
        madds.append(float((4 + activation) * size * size * channels))

    if run.network == "cifar_alexnet":
        conv(11, 64, 4, 5, True)
        pool()
        conv(5, 192, 1, 2, True)
        pool()
        for out in (384, 256, 256):
            conv(3, out, 1, 1, True)
        pool()
    else:
        conv(3, 16, 1, 1, False)
        norm(True)
        for out in (16, 32, 64):
            for block in range(3):
                before = channels
                conv(3, out, 2 if block == 0 and out > 16 else 1, 1, False)
                norm(True)
                conv(3, out, 1, 1, False)
                norm(False)
                if before != out:
                    # The code walks on from the tensor that the two convolutions left.
                    conv(1, out, 2, 0, False, reads=before)
                    norm(False)
    columns = len(run.layers)
    return np.array(madds[:columns]), np.array(weights[:columns])


def aligned_madds(run: RunOf) -> tuple[Floats, Floats]:
    """MACs and weights of our layers, 0 for columns that our network lacks."""
    known = {layer.name: layer for layer in load_workload(run.network).mac_layers}
    found = [known[name] if name else None for name in run.layers]
    macs = [float(layer.macs) if layer else 0.0 for layer in found]
    return np.array(macs), np.array([float(layer.parameters) if layer else 0.0 for layer in found])


def cost_ratio(words: Floats, nonzero: Floats, madds: Floats, overhead: Floats | float = 0.0) -> Floats:
    """Sq / S32 in every iteration; ``overhead`` (iterations, layers) in their bit-operations."""
    return np.asarray((nonzero * (madds * words + overhead)).sum(axis=1) / (32.0 * madds.sum()))


def su_train(ratio: Floats) -> float:
    """2 S32 / (Sq + S32) over a run: never above 2, because the backward passes are charged in float32."""
    return float(2.0 / (1.0 + ratio.mean()))


def bounds_from_means(words: Floats, nonzero: Floats, madds: Floats) -> tuple[float, float]:
    """SU_train at the least and at the most if of each layer's zeros only the mean over time were known.

    With a given mean between 0 and 1, the mean of nz x WL is least when only the shortest words have weights that are not zero,
    and most when only the longest have.
    """
    ends = []
    for order in (1, -1):
        ranked = np.sort(order * words, axis=0) * order
        filled = np.clip(nonzero.mean(axis=0) * len(words) - np.arange(len(words))[:, None], 0.0, 1.0)
        ends.append(su_train(cost_ratio(ranked, filled, madds)))
    return min(ends), max(ends)


def theirs(run: RunOf) -> dict[str, tuple[float, float, float]]:
    """SU_train, SU_inf and size of a run by their model: middle, least, most over the unknown lookback and resolution."""
    length, kept = over_time(words(run)), nonzero(run)
    madds, weights = published_madds(run)
    found = sorted(
        su_train(
            cost_ratio(
                length,
                kept,
                madds,
                adapt_published_overhead(weights, length, bins, kept, lookback, INTERVAL, run.accumulation),
            )
        )
        for lookback in LOOKBACKS
        for bins in BINS
    )
    final = cost_ratio(length, kept, madds)[-1]
    size = float(kept[-1].mean() * length[-1].mean() / 32.0)
    return {
        "SU_train": (found[len(found) // 2], found[0], found[-1]),
        "SU_inf": (1.0 / float(final), 1.0 / float(final), 1.0 / float(final)),
        "size": (size, size, size),
    }


def corrected(run: RunOf) -> dict[str, float]:
    """Speed-ups of a run with every layer's own MACs, step by step towards what hardware does.

    Returns
    -------
    ``aligned``: their formula. ``aligned_inference``: SU_inf. ``dense``: weights that are zero are multiplied like any other.
    ``passes``: and the backward passes run in the layers' words too, as AdaPT trains, with both operands' words counting.
    """
    length, kept = over_time(words(run)), nonzero(run)
    macs, _ = aligned_madds(run)
    ratio, dense = cost_ratio(length, kept, macs), cost_ratio(length, np.ones_like(kept), macs)
    return {
        "aligned": su_train(ratio),
        "aligned_inference": 1.0 / float(ratio[-1]),
        "dense": su_train(dense),
        "passes": 1.0 / float(((macs * length**2).sum(axis=1) / (32.0**2 * macs.sum())).mean()),
    }


# On hardware --------------------------------------------------------------------------------------------------------


def schedule(run: RunOf, backward: str | None = None) -> Schedule:
    """The run's plans: words for weight, activation and error of each layer (``backward``: another format of the error)."""
    return Schedule.traced(words(run), backward, ITERATIONS, run.layers)


def policy(network: Network, lookback: int = 50, bins: int = 100, trials: int = 8) -> Overhead:
    """PushDown and PushUp of every layer over a whole run, once per ``lookback`` batches.

    Ours: ``trials`` formats per search, 2 log2 of the 24 words above 8 rounded down, as their bisection takes.
    """
    one = [
        push_down_overhead(layer.parameters, bins, trials) + push_up_overhead(layer.parameters, lookback)
        for layer in network.mac_layers
    ]
    return sum(one[1:], one[0]) * (ITERATIONS / lookback)


def hardware_rows(run: RunOf) -> list[Row]:
    """Energy and time of the whole run on three elements in one array, all passes, memory and the policy included."""
    network = load_workload(run.network).with_batch(BATCH)
    reference = evaluate(network, float32(), Schedule.static("fp32", ITERATIONS)).total.iloc[0]
    rows = []
    for hardware in (serial_32(), flexible()):
        ours = evaluate(network, hardware, schedule(run), overhead=policy(network)).total.iloc[0]
        wide = evaluate(network, hardware, Schedule.static("w32a32e32", ITERATIONS)).total.iloc[0]
        for base, label in ((wide, "32-bit words on the same device"), (reference, REFERENCE)):
            for quantity, what in (("latency_s", "speed"), ("energy_j", "energy")):
                rows.append(
                    Row(
                        run.name,
                        f"training {what} against {label}, {hardware.name}",
                        "x",
                        float(base[quantity]) / float(ours[quantity]),
                        assumed="all passes in the layers' words, zeros multiplied, mapped tensors, PushDown and PushUp charged",
                    )
                )
        if hardware.name == flexible().name:
            memory = float(ours["peak_memory_bits"]) / float(reference["peak_memory_bits"])
            assumed = "float32 master copy and optimizer, stash in the layers' words"
            rows.append(Row(run.name, "peak training memory against float32", "x", memory, assumed=assumed))
    return rows


def study() -> Study:
    """Their figures from their traces and model; then the same traces with the layers' own costs, and on hardware."""
    rows: list[Row] = []
    found = {run.name: theirs(run) for run in runs()}
    for run in runs():
        for quantity, published in (("SU_train", run.su_train), ("SU_inf", run.su_inf), ("size", run.size)):
            middle, low, high = found[run.name][quantity]
            note = "; published: end of a cost curve with overhead" * (quantity == "SU_inf")
            rows.append(Row(run.name, quantity, "x", middle, published, low=low, high=high, assumed=THEIR_MODEL + note))
    for quantity, claimed in zip(("SU_train", "SU_inf", "size"), CLAIMED, strict=True):
        middle, low, high = (float(np.mean([item[quantity][k] for item in found.values()])) for k in range(3))
        rows.append(
            Row("mean of the four runs", quantity, "x", middle, claimed, low=low, high=high, assumed=THEIR_MODEL)
        )
    fixed = {run.name: corrected(run) for run in runs()}
    labels = {
        "aligned": "SU_train, word lengths meet their own layer's MACs",
        "aligned_inference": "SU_inf, word lengths meet their own layer's MACs",
        "dense": "SU_train, own MACs, zeros cost like any weight",
        "passes": "speed in BitOps, own MACs, both operands, all passes in the layers' words",
    }
    for key, label in labels.items():
        for run in runs():
            rows.append(Row(run.name, label, "x", fixed[run.name][key]))
        rows.append(Row("mean of the four runs", label, "x", float(np.mean([item[key] for item in fixed.values()]))))
    for run in runs():
        rows.append(_means_only(run))
    hardware = [row for run in runs() for row in hardware_rows(run)]
    return Study(
        "adapt",
        "AdaPT: per-layer fixed point that follows training",
        "L. Kummer et al., Adaptive Precision Training (AdaPT), arXiv 2107.13490; code lorenz0890/AdaPT (read, formulas only)",
        _findings(found, fixed, hardware),
        (*rows, *hardware),
        _figures(found, fixed),
        "word lengths and zeros over time (read off the published heat maps), the performance model as their code has it, "
        "batch 512 and the intervals of its configuration files",
        "which lookback and histogram resolution held when (the interval of SU_train spans all), real MACs and passes, hardware; "
        "accuracy (+0.98 points in the mean of their runs) is theirs",
    )


def _means_only(run: RunOf) -> Row:
    length, kept = over_time(words(run)), nonzero(run)
    madds, _ = published_madds(run)
    low, high = bounds_from_means(length, kept, madds)
    middle = su_train(cost_ratio(length, np.broadcast_to(kept.mean(axis=0), kept.shape), madds))
    return Row(
        run.name,
        "SU_train without overhead if zeros were known as means only",
        "x",
        middle,
        low=low,
        high=high,
        assumed=f"with zeros over time {su_train(cost_ratio(length, kept, madds)):.3f}; interval: any course with these means",
    )


def _findings(
    found: dict[str, dict[str, tuple[float, float, float]]], fixed: dict[str, dict[str, float]], hardware: list[Row]
) -> tuple[str, ...]:
    mean = {key: np.mean([item[key][0] for item in found.values()]) for key in ("SU_train", "SU_inf", "size")}
    own = {key: np.mean([item[key] for item in fixed.values()]) for key in ("aligned", "aligned_inference", "dense")}
    spent = {}
    for device in (serial_32().name, flexible().name):
        wanted = f"training energy against {REFERENCE}, {device}"
        spent[device] = 1.0 / float(np.mean([row.ours for row in hardware if row.quantity == wanted]))
    return (
        f"Their traces and their model give {mean['SU_train']:.2f} in training, {mean['SU_inf']:.2f} in inference and a size "
        f"of {mean['size']:.2f} in the mean, against {CLAIMED[0]}, {CLAIMED[1]} and {CLAIMED[2]}.",
        "They do so only with the costs as the code assigns them: a list of multiply-adds over all modules, poolings and "
        "norms among them, is read by position for the layers with weights alone, so that a word length meets another "
        "layer's cost.",
        f"With every layer's own MACs the same formula gives {own['aligned']:.2f} in training and "
        f"{own['aligned_inference']:.2f} in inference; with zeros multiplied like any weight {own['dense']:.2f} in training.",
        f"On hardware, all passes in the layers' words, the runs take {spent[serial_32().name]:.2f} times the energy of FP32 "
        f"elements in the same array with bit-serial elements, which are an order of magnitude slower each, and "
        f"{spent[flexible().name]:.2f} times with elements of 2 to 16 bits: words of about 20 bits gain little over float32.",
    )


def _figures(
    found: dict[str, dict[str, tuple[float, float, float]]], fixed: dict[str, dict[str, float]]
) -> tuple[tuple[str, go.Figure], ...]:
    names = list(found)
    chart = {
        "published": {run.name: run.su_train for run in runs()},
        "ours, their model": {name: found[name]["SU_train"][0] for name in names},
        "own MACs": {name: fixed[name]["aligned"] for name in names},
        "own MACs, dense": {name: fixed[name]["dense"] for name in names},
    }
    course = {}
    for run in runs():
        length, kept, every = over_time(words(run)), nonzero(run), 40
        ratio = cost_ratio(length, kept, published_madds(run)[0])[::every]
        course[run.name] = ([float(every * k) for k in range(len(ratio))], [float(value) for value in ratio])
    mean = {
        run.name: (
            [float(40 * k) for k in range(ITERATIONS // 40)],
            [float(value) for value in over_time(words(run)).mean(axis=1)[::40]],
        )
        for run in runs()
    }
    return (
        ("Speed-up in training, published and by our steps", bars(chart, "SU_train")),
        (
            "Cost of an iteration against float32 by their model, without overhead",
            lines(course, "iteration", "Sq / S32"),
        ),
        ("Mean word length over the layers", lines(mean, "iteration", "bits")),
    )
