"""Measure a profile on a real model: one tensor quantized at a time, then whole plans, on any backend that can run them.

A backend is a :class:`Model`: it runs the network on images with fake-quantized weights and input activations of the layers
that are told, everything else in full precision. What is measured, in which order, how it is kept when interrupted, and
what becomes of it is the same for all of them, and is here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dse.accuracy.calibrate import Calibration, calibrate_file, plans_to_measure
from dse.accuracy.measuring.journal import Notebook, Progress
from dse.accuracy.measuring.pairs import Interaction, Tensor, choose_pairs, pairs_note
from dse.accuracy.measuring.settings import SCORES, Images, Labels, Settings, check_settings
from dse.accuracy.profiles.loading import profile_from_file
from dse.accuracy.profiles.profile import Profile, some_names
from dse.accuracy.profiles.schema import Operand, PointFile, PredictionFile, ProfileFile, operands_of
from dse.errors import InputError
from dse.types import Floats
from dse.yaml_input import Document

Ranges = Mapping[str, tuple[float, float]]
#: A KL divergence in nat, or points of accuracy, that is not to be told from 0.
NOTHING = 1e-9


class Model(Protocol):
    """A network that can be run with some of its tensors quantized."""

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> tuple[str, ...]: ...

    @property
    def weights(self) -> int: ...

    @property
    def kept(self) -> Mapping[str, int]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def digest(self) -> str: ...

    def ranges(self, images: Images) -> Ranges:
        """Range of each layer's input, for its quantizer."""
        ...

    def outputs(
        self, images: Images, weight: Mapping[str, int], activation: Mapping[str, int], ranges: Ranges
    ) -> Floats:
        """(n, classes) outputs before the softmax; layers that are not named stay in full precision."""
        ...

    def tensor_noise(self, images: Images, layer: str, operand: Operand, width: int, ranges: Ranges) -> float:
        """Squared error of one layer's rounded weight or input over its square, the rest in full precision."""
        ...


def measure(
    model: Model,
    images: Images,
    labels: Labels | None,
    settings: Settings,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> ProfileFile:
    """Measure the scores of every layer, and whole plans on other images, and fit the predictor.

    Parameters
    ----------
    images
        (n, ...) as the model takes them. With plans, one half (chosen by the seed) is for the scores, the other for the plans,
        so that the predictor's error holds for images that were not seen.
    labels
        (n,) classes, or None: then the predicted quantity is the KL divergence instead of top-1.
    journal
        File that keeps every measurement at once; an interrupted measurement goes on from it. None: keep nothing.

    Raises
    ------
    InputError
        Settings or data that do not fit, or a journal of another measurement.
    """
    check_settings(images, labels, settings, len(model.layers))
    order = np.random.default_rng(settings.seed).permutation(len(images))
    half = len(images) // 2 if settings.plans else len(images)
    seen, unseen = np.sort(order[:half]), np.sort(order[half:])
    wanted: tuple[tuple[Operand, tuple[int, ...]], ...] = (
        ("weight", settings.weight_widths),
        ("activation", settings.activation_widths),
    )
    jobs: list[tuple[str, Operand, int]] = [
        (layer, operand, width) for layer in model.layers for operand, widths in wanted for width in sorted(set(widths))
    ]
    notebook = Notebook(
        journal, _digest(model, images, labels, settings), len(jobs) + settings.plans + settings.pairs, progress
    )
    ranges = model.ranges(images[seen])
    base = model.outputs(images[seen], {}, {}, ranges)
    scores: dict[str, dict[Operand, dict[int, float]]] = {
        name: {"weight": {}, "activation": {}} for name in model.layers
    }
    for layer, operand, width in jobs:

        def score(layer: str = layer, operand: Operand = operand, width: int = width) -> float:
            if settings.score == "tensor":
                return model.tensor_noise(images[seen], layer, operand, width, ranges)
            narrow: dict[str, int] = {layer: width}
            given: tuple[dict[str, int], dict[str, int]] = (narrow, {}) if operand == "weight" else ({}, narrow)
            outputs = model.outputs(images[seen], *given, ranges)
            return output_score(settings.score, base, outputs, None if labels is None else labels[seen])

        scores[layer][operand][width] = notebook.value(f"{layer} {operand} {width}", score)
    baseline = None if labels is None else top1(base, labels[seen])
    file = _file(model, scores, settings, len(seen), baseline)
    if settings.pairs:

        def together(first: Tensor, second: Tensor, widths: tuple[int, int]) -> float:
            given: dict[str, dict[str, int]] = {"weight": {}, "activation": {}}
            for (layer, operand), width in zip((first, second), widths, strict=True):
                given[operand][layer] = width
            outputs = model.outputs(images[seen], given["weight"], given["activation"], ranges)
            return output_score(settings.score, base, outputs, None if labels is None else labels[seen])

        found = _pairs(scores, settings, together, notebook)
        file = file.model_copy(update={"notes": [*file.notes, pairs_note(found)]})
    if not settings.plans:
        return file
    rest = None if labels is None else labels[unseen]
    document = Document(f"profile of {model.name}", {}, {(): 1})
    profile = profile_from_file(file, document)
    points, found_baseline = _points(profile, model, images[unseen], rest, settings, ranges, notebook)
    if _all_harmless(points, found_baseline):
        # Scores that took an hour are kept, whatever becomes of the predictor.
        return file.model_copy(update={"notes": [*file.notes, f"No predictor: {_harmless(len(points))}"]})
    return calibrate_file(_with_baseline(file, found_baseline), document, points).file


def measure_points(
    file: ProfileFile,
    document: Document,
    model: Model,
    images: Images,
    labels: Labels | None,
    plans: int,
    seed: int = 0,
    journal: str | Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Measure whole plans for a profile that has none, and fit its predictor; nothing is retrained.

    Parameters
    ----------
    file, document
        The profile, without points, and where it was read.
    plans, seed
        How many plans, and the seed of their choice; journal and progress as in :func:`measure`.

    Raises
    ------
    InputError
        A profile that has points, of another model, or of too few widths; as :func:`measure` besides.
    """
    problems = []
    if file.points:
        problems.append("has measured points, of images that are not known here; give further ones with --points")
    if set(file.layers) != set(model.layers):
        other = some_names(sorted(set(file.layers) ^ set(model.layers)))
        problems.append(f"is not of this model, which differs in {other}")
    if operands_of(file) != ("weight", "activation"):
        problems.append("has one width for weight and activation; measure them apart")
    if problems:
        raise InputError(document.source, problems)
    first = next(iter(file.layers.values()))
    settings = Settings(tuple(sorted(first["weight"])), tuple(sorted(first["activation"])), "kl", plans, seed)
    check_settings(images, labels, settings, len(model.layers))
    notebook = Notebook(journal, _digest(model, images, labels, settings), plans, progress)
    ranges = model.ranges(images)
    labelled = file.prediction.model_copy(
        update={
            "quantity": "kl" if labels is None else "top1",
            "baseline_name": "the full-precision network"
            + (" itself" if labels is None else "'s top-1 on the same images"),
        }
    )
    file = file.model_copy(
        update={"prediction": labelled, "layers": {name: file.layers[name] for name in model.layers}}
    )
    profile = profile_from_file(file, document)
    points, baseline = _points(profile, model, images, labels, settings, ranges, notebook)
    if _all_harmless(points, baseline):
        raise InputError(document.source, [_harmless(len(points))])
    return calibrate_file(_with_baseline(file, baseline), document, points)


def _pairs(
    scores: Mapping[str, Mapping[Operand, Mapping[int, float]]],
    settings: Settings,
    together: Callable[[Tensor, Tensor, tuple[int, int]], float],
    notebook: Notebook,
) -> list[Interaction]:
    narrow: dict[str, int] = {"weight": min(settings.weight_widths), "activation": min(settings.activation_widths)}
    alone: dict[Tensor, float] = {
        (layer, operand): by_width[narrow[operand]]
        for layer, given in scores.items()
        for operand, by_width in given.items()
    }
    found = []
    for first, second in choose_pairs(alone, settings.pairs):
        widths = narrow[first[1]], narrow[second[1]]
        value = notebook.value(
            f"pair {' '.join(first)} {' '.join(second)}",
            lambda first=first, second=second, widths=widths: together(first, second, widths),  # type: ignore[misc]
        )
        found.append(Interaction(first, second, widths, (alone[first], alone[second]), value))
    return found


def output_score(kind: str, base: Floats, outputs: Floats, labels: Labels | None) -> float:
    """One of :data:`SCORES` that is of the outputs, from (n, classes) outputs before the softmax; never below 0.

    Raises
    ------
    InputError
        Outputs that are not finite, which have no score (and not the score 0 of a tensor that does no harm), or ``noise`` relative
        to outputs that are all 0.

    >>> output_score("noise", np.array([[3.0, 4.0]]), np.array([[3.0, 3.0]]), None)
    0.04
    """
    if not (np.isfinite(base).all() and np.isfinite(outputs).all()):
        raise InputError(
            kind, ["the network's outputs are not finite on these images, so that nothing can be measured"]
        )
    if kind == "noise":
        if not base.any():
            raise InputError(
                kind, ["the outputs are 0 on all images, and noise is relative to them; take kl, or other images"]
            )
        scale = float(np.abs(base).max())  # Squares of large outputs would not be finite.
        return float((((outputs - base) / scale) ** 2).sum() / ((base / scale) ** 2).sum())
    expected, found = _log_softmax(base), _log_softmax(outputs)
    if kind == "loss":
        assert labels is not None
        rows = np.arange(len(labels))
        return max(0.0, float((expected[rows, labels] - found[rows, labels]).mean()))
    return max(0.0, float((np.exp(expected) * (expected - found)).sum(axis=1).mean()))


def top1(outputs: Floats, labels: Labels) -> float:
    """Share of samples whose largest output is the label's, in %."""
    return float(100.0 * (outputs.argmax(axis=1) == labels).mean())


def _points(
    profile: Profile,
    model: Model,
    images: Images,
    labels: Labels | None,
    settings: Settings,
    ranges: Ranges,
    notebook: Notebook,
) -> tuple[list[PointFile], float]:
    """Measured whole plans, and the value of the network without quantization on the same images."""
    widths = sorted(set(settings.weight_widths) & set(settings.activation_widths))
    maps = plans_to_measure(profile, widths, settings.plans, settings.seed)
    base = model.outputs(images, {}, {}, ranges)
    baseline = 0.0 if labels is None else top1(base, labels)
    points = []
    for index in range(settings.plans):
        plan = {operand: dict(zip(model.layers, map(int, bits[index]), strict=True)) for operand, bits in maps.items()}

        def value(plan: dict[str, dict[str, int]] = plan) -> float:
            outputs = model.outputs(images, plan["weight"], plan["activation"], ranges)
            return output_score("kl", base, outputs, None) if labels is None else top1(outputs, labels)

        found = notebook.value(f"plan {index}", value)
        given: dict[str, Any] = {operand: _compact(list(bits.values())) for operand, bits in plan.items()}
        points.append(PointFile(name=f"plan{index:03d}", value=found, **given))
    return points, baseline


def _with_baseline(file: ProfileFile, baseline: float) -> ProfileFile:
    return file.model_copy(update={"prediction": file.prediction.model_copy(update={"baseline": baseline})})


def _all_harmless(points: list[PointFile], baseline: float) -> bool:
    """Whether nothing was lost, but for what rounding makes of outputs in single precision."""
    return all(abs(point.value - baseline) < NOTHING for point in points)


def _harmless(count: int) -> str:
    return f"none of {count} measured plans lost anything (measure narrower widths, or more images)"


def _file(
    model: Model,
    scores: dict[str, dict[Operand, dict[int, float]]],
    settings: Settings,
    images: int,
    baseline: float | None,
) -> ProfileFile:
    return ProfileFile(
        network=model.name,
        source=f"measured by 'dse profile' on {images} images, seed {settings.seed}",
        method="fake quantization of one tensor at a time, the rest in full precision",
        score=SCORES[settings.score],
        notes=list(model.notes),
        weights=model.weights,
        prediction=PredictionFile(
            quantity="kl" if baseline is None else "top1",
            baseline=baseline or 0.0,
            baseline_name="the full-precision network"
            + (" itself" if baseline is None else "'s top-1 on the same images"),
            calibration="post-training",
        ),
        kept=dict(model.kept),
        layers=scores,
    )


def _digest(model: Model, images: Images, labels: Labels | None, settings: Settings) -> str:
    hashed = hashlib.sha256(json.dumps([model.digest, asdict(settings)], sort_keys=True).encode())
    hashed.update(np.ascontiguousarray(images).tobytes())
    hashed.update(b"" if labels is None else np.ascontiguousarray(labels).tobytes())
    return hashed.hexdigest()


def _compact(widths: list[int]) -> int | list[int]:
    return widths[0] if len(set(widths)) == 1 else widths


def _log_softmax(outputs: Floats) -> Floats:
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
