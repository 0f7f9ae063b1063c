"""AdaPT's traces and its own performance model (Kummer et al., arXiv 2107.13490; code lorenz0890/AdaPT, no licence).

Theirs, rebuilt as formulas from the paper and a reading of the code: word lengths per layer over time (our reading of the published
heat maps, ``data/SOURCES.md``), and a performance model in which a multiply-add costs its word length, weights that are zero cost
nothing, and the backward passes cost as much as one forward pass in float32::

    S32 = 32 MAdds,  Sq = nz (WL MAdds + OH),  SU_train = 2 S32 / (Sq + S32),  SU_inf = S32 / (nz WL MAdds) at the end
    OH = 32 (PD + PU) interval / (lookback accumulation),  PD = 3 T 2 log2(WL - 8) bins nz,  PU = (lookback + 1) T + 1

Ours: the same formula with each layer's own MACs, and what is known if of the zeros only means are.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np

from dse.precision.policies.rules import adapt_published_overhead
from dse.precision.schedules.trace_file import Trace, read_trace
from dse.types import Floats
from dse.workload import load_workload

ITERATIONS = 8_800
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


def over_time(trace: Trace, iterations: int = ITERATIONS) -> Floats:
    """Values of every iteration of a run of some length, shape (iterations, layers); ``trace`` may be anyone's."""
    lengths = np.diff(np.append(trace.iterations, iterations))
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
    """SU_train, SU_inf and size of a run by their model: middle, least, most over the unknown lookback and resolution.

    SU_inf is without overhead, as their formula has it, and that is its most; its least is the end of the cost curve with the
    largest overhead, since the published figure of a run is read off a curve that includes it.
    """
    length, kept = over_time(words(run)), nonzero(run)
    madds, weights = published_madds(run)
    ratios = [
        cost_ratio(
            length,
            kept,
            madds,
            adapt_published_overhead(weights, length, bins, kept, lookback, INTERVAL, run.accumulation),
        )
        for lookback in LOOKBACKS
        for bins in BINS
    ]
    found = sorted(map(su_train, ratios))
    final = 1.0 / float(cost_ratio(length, kept, madds)[-1])
    size = float(kept[-1].mean() * length[-1].mean() / 32.0)
    return {
        "SU_train": (found[len(found) // 2], found[0], found[-1]),
        "SU_inf": (final, min(1.0 / float(ratio[-1]) for ratio in ratios), final),
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
