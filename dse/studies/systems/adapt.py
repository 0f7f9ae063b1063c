"""AdaPT: per-layer fixed point that follows training (Kummer et al., arXiv 2107.13490; code lorenz0890/AdaPT, no licence).

Theirs: word lengths of weights, activations and gradients per layer over time, from about 8 to 32 bits; SU_train 1.27, SU_inf
2.33 and 0.52 of float32's size in the mean of four runs, by a performance model (:mod:`dse.studies.systems.adapt_model`). Ours: the
same traces on hardware, where both operands have words, all three passes run, and memory costs.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dse.cost import evaluate
from dse.cost.totals.evaluate import RUN_ROW
from dse.precision import Schedule
from dse.precision.policies.rules import Overhead, adapt_control_overhead, push_down_overhead, push_up_overhead
from dse.studies.devices import flexible, float32, serial_32
from dse.studies.study import Claim, Study, bars, lines, rows_of
from dse.studies.systems.adapt_model import (
    CLAIMED,
    ITERATIONS,
    RunOf,
    bounds_from_means,
    corrected,
    cost_ratio,
    nonzero,
    over_time,
    published_madds,
    runs,
    su_train,
    theirs,
    words,
)
from dse.workload import load_workload
from dse.workload.model import Network

#: Samples per batch (configuration files).
BATCH = 512
#: What the corrected runs are held against.
REFERENCE = "FP32 elements in the same array"
POLICY = "eight trial formats per search, every 50 batches; their model charges up to a third of the run (lookback 25, 150 bins)"
THEIR_MODEL = (
    "their model with the costs that their code gives each layer; interval: lookback 25 to 100, 50 to 150 bins"
)


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
    decision = sum(one, adapt_control_overhead(len(one)))
    return decision * (ITERATIONS / lookback)


def hardware_rows(run: RunOf) -> list[Claim]:
    """Energy and time of the whole run on three elements in one array, all passes, memory and the policy included."""
    network = load_workload(run.network).with_batch(BATCH)
    reference = evaluate(network, float32(), Schedule.static("fp32", ITERATIONS), search_mappings=False).total.iloc[0]
    rows = []
    for hardware in (serial_32(), flexible()):
        cost = evaluate(network, hardware, schedule(run), overhead=policy(network), search_mappings=False)
        ours = cost.total.iloc[0]
        static = Schedule.static("w32a32e32", ITERATIONS)
        wide = evaluate(network, hardware, static, search_mappings=False).total.iloc[0]
        for base, label in ((wide, "32-bit words on the same device"), (reference, REFERENCE)):
            for quantity, what in (("latency_s", "speed"), ("energy_j", "energy")):
                rows.append(
                    Claim(
                        run.name,
                        f"training {what} against {label}",
                        "x",
                        float(base[quantity]) / float(ours[quantity]),
                        assumed="all passes in the layers' words, zeros multiplied, mapped tensors, PushDown and PushUp charged",
                        key=(what, label, hardware.name),
                        subject=hardware.name,
                    )
                )
        layers = cost.layers
        for name, what in (
            ("policy", "PushDown and PushUp"),
            ("width changes", f"{schedule(run).changes} width changes"),
        ):
            spent = layers[(layers["layer"] == RUN_ROW) & (layers["pass"] == name)]["energy_j"].sum()
            share = 100.0 * float(spent) / float(ours["energy_j"])
            rows.append(
                Claim(run.name, "share of energy", "%", share, assumed=POLICY, subject=f"{what}, {hardware.name}")
            )
        if hardware.name == flexible().name:
            memory = float(ours["peak_memory_bits"]) / float(reference["peak_memory_bits"])
            assumed = "float32 master copy and optimizer, stash in the layers' words"
            rows.append(Claim(run.name, "peak training memory against float32", "x", memory, assumed=assumed))
    return rows


def study() -> Study:
    """Their figures from their traces and model; then the same traces with the layers' own costs, and on hardware."""
    rows: list[Claim] = []
    found = {run.name: theirs(run) for run in runs()}
    for run in runs():
        for quantity, published in (("SU_train", run.su_train), ("SU_inf", run.su_inf), ("size", run.size)):
            middle, low, high = found[run.name][quantity]
            note = "; ours without overhead, published with it, as is the lower end" * (quantity == "SU_inf")
            rows.append(
                Claim(run.name, quantity, "x", middle, published, low=low, high=high, assumed=THEIR_MODEL + note)
            )
    for quantity, claimed in zip(("SU_train", "SU_inf", "size"), CLAIMED, strict=True):
        middle, low, high = (float(np.mean([item[quantity][k] for item in found.values()])) for k in range(3))
        rows.append(
            Claim("mean of the four runs", quantity, "x", middle, claimed, low=low, high=high, assumed=THEIR_MODEL)
        )
    fixed = {run.name: corrected(run) for run in runs()}
    labels = {
        "aligned": ("SU_train", "word lengths meet their own layer's MACs"),
        "aligned_inference": ("SU_inf", "word lengths meet their own layer's MACs"),
        "dense": ("SU_train", "own MACs, zeros cost like any weight"),
        "passes": ("speed in BitOps", "own MACs, both operands, all passes in the layers' words"),
    }
    for key, (label, how) in labels.items():
        for run in runs():
            rows.append(Claim(run.name, label, "x", fixed[run.name][key], subject=how))
        mean = float(np.mean([item[key] for item in fixed.values()]))
        rows.append(Claim("mean of the four runs", label, "x", mean, subject=how))
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


def _means_only(run: RunOf) -> Claim:
    length, kept = over_time(words(run)), nonzero(run)
    madds, _ = published_madds(run)
    low, high = bounds_from_means(length, kept, madds)
    middle = su_train(cost_ratio(length, np.broadcast_to(kept.mean(axis=0), kept.shape), madds))
    return Claim(
        run.name,
        "SU_train without overhead if zeros were known as means only",
        "x",
        middle,
        low=low,
        high=high,
        assumed=f"with zeros over time {su_train(cost_ratio(length, kept, madds)):.3f}; interval: any course with these means",
    )


def _findings(
    found: dict[str, dict[str, tuple[float, float, float]]], fixed: dict[str, dict[str, float]], hardware: list[Claim]
) -> tuple[str, ...]:
    mean = {key: np.mean([item[key][0] for item in found.values()]) for key in ("SU_train", "SU_inf", "size")}
    own = {key: np.mean([item[key] for item in fixed.values()]) for key in ("aligned", "aligned_inference", "dense")}
    spent = {}
    for device in (serial_32().name, flexible().name):
        spent[device] = 1.0 / float(np.mean([row.ours for row in rows_of(hardware, "energy", REFERENCE, device)]))
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
