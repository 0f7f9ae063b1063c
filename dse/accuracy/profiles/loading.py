"""From a profile's file to a :class:`Profile`: read, checked, fitted, and bound to a network by the names of its layers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from dse.accuracy import predictor
from dse.accuracy.confidence import ErrorModel
from dse.accuracy.profiles.profile import Profile, some_names
from dse.accuracy.profiles.schema import QUANTITIES, ProfileFile, check_profile, operands_of
from dse.errors import InputError
from dse.shipped import find_file
from dse.workload.model import Network
from dse.yaml_input import Document, load_yaml, validate


def load_profile(name_or_path: str | Path, network: Network | None = None) -> Profile:
    """Read a sensitivity profile and fit its predictor.

    Parameters
    ----------
    name_or_path
        A file, or the name of a shipped profile.
    network
        Binds the profile: its layers come in the network's order, and a profile of another network is an error.

    Raises
    ------
    InputError
        Every problem of the file, or what differs between the profile's network and the given one.
    """
    file, document = read_profile(name_or_path)
    return profile_from_file(file, document, network)


def read_profile(name_or_path: str | Path) -> tuple[ProfileFile, Document]:
    """The checked contents of a profile file, and its document for the lines of later problems."""
    document = load_yaml(find_file(name_or_path, "workloads/profiles"))
    return _checked(document), document


def profile_from_document(document: Document, network: Network | None = None) -> Profile:
    """A profile from a document that was already read; see :func:`load_profile`."""
    return profile_from_file(_checked(document), document, network)


def profile_from_file(file: ProfileFile, document: Document, network: Network | None = None) -> Profile:
    """A profile from a valid file; ``document`` knows its source and lines."""
    operands = operands_of(file)
    layers = list(file.layers.values())
    unit, larger_is_better = QUANTITIES[file.prediction.quantity]
    sign = 1.0 if larger_is_better else -1.0
    drops = np.array([round(sign * (file.prediction.baseline - point.value), 9) for point in file.points])
    first = next(iter(file.formats.values()), {})
    formats = {name: tuple(sorted(scores)) for name, scores in first.items()}
    unfitted = Profile(
        network=file.network,
        source=file.source,
        method=file.method,
        score_name=file.score,
        path=document.source,
        layer_names=tuple(file.layers),
        operands=operands,
        measured_widths={name: np.array(sorted(layers[0][name]), dtype=np.int64) for name in operands},
        measured_scores={
            name: np.array([[given[name][width] for width in sorted(given[name])] for given in layers])
            for name in operands
        },
        kept=dict(file.kept),
        ties=tuple(tuple(tied) for tied in file.ties),
        quantity=file.prediction.quantity,
        unit=unit,
        baseline=file.prediction.baseline,
        baseline_name=file.prediction.baseline_name,
        calibration=file.prediction.calibration,
        noise=float("nan") if file.prediction.noise is None else file.prediction.noise,
        link=file.prediction.link or "",
        parameters=(),
        point_names=tuple(point.name for point in file.points),
        point_scores=np.zeros(len(file.points)),
        point_layer_scores=np.zeros((len(file.points), len(layers))),
        spread=float("nan") if file.prediction.layer_spread is None else file.prediction.layer_spread,
        factors=np.ones(len(layers)),
        shrink=file.prediction.shrink or 0.0,
        errors_of=file.prediction.errors_of or "",
        error_scores={str(name): dict(scores) for name, scores in file.error_scores.items()},
        point_drops=drops,
        error_drops={} if file.error_tensor is None else _error_drops(file, sign),
        assumptions=_assumptions(file, unit),
        measured_formats={str(name): forms for name, forms in formats.items()},
        format_scores={
            str(name): np.array([[file.formats[layer][name][form] for form in formats[name]] for layer in file.layers])
            for name in formats
        },
        shared_errors=_shared_errors(file, document, unit),
    )
    profile = unfitted
    if file.prediction.link is not None:
        points: dict[str, ArrayLike] = {
            name: np.array([np.broadcast_to(getattr(point, name), len(layers)) for point in file.points])
            for name in operands
        }
        if len(drops) < (needed := len(predictor.LINKS[file.prediction.link].units)):
            message = f"expected at least {needed} points to fit '{file.prediction.link}', got {len(drops)}"
            raise InputError(document.source, [document.problem(("points",), message)])
        parts = unfitted.layer_scores(points)
        factors = unfitted.factors
        if file.prediction.layer_spread is None:
            parameters = predictor.fit_link(file.prediction.link, parts.sum(axis=1), drops)
        else:
            parameters, factors = predictor.fit_factors(
                file.prediction.link, parts, drops, file.prediction.layer_spread
            )
        profile = replace(
            unfitted,
            point_scores=parts @ factors,
            point_layer_scores=parts,
            parameters=parameters,
            factors=factors,
            point_mean_bits=np.mean([np.mean(np.asarray(points[name], float), axis=1) for name in operands], axis=0),
        )
    return profile if network is None else bind(profile, network, document, file.weights)


def bind(profile: Profile, network: Network, document: Document, weights: int | None = None) -> Profile:
    """The profile with its layers in the order of a network.

    Layers are matched by name; the number of weights tells networks apart that share their names.

    Raises
    ------
    InputError
        Layers that one has and the other lacks, or another number of weights.
    """
    has = {layer.name: layer for layer in network.mac_layers}
    known = {*profile.layer_names, *profile.kept}
    problems = []
    if extra := [name for name in (*profile.layer_names, *profile.kept) if name not in has]:
        problems.append(
            document.problem(("layers",), f"is of {profile.network}; {network.name} has no {some_names(extra)}")
        )
    if lacking := [name for name in has if name not in known]:
        problems.append(
            document.problem(
                ("layers",),
                f"is of {profile.network}; lacks {some_names(lacking)} of {network.name}: give their scores, or a width in 'kept'",
            )
        )
    found = sum(layer.G * layer.K * layer.C * layer.R * layer.S for layer in has.values() if layer.kind != "matmul")
    if not problems and weights is not None and found != weights:
        problems.append(
            document.problem(
                ("weights",), f"is of a network with {weights:,} weights; {network.name} has {found:,}: another network"
            )
        )
    if problems:
        raise InputError(document.source, problems)
    order = [profile.layer_names.index(name) for name in has if name in profile.layer_names]
    return replace(
        profile,
        layer_names=tuple(profile.layer_names[index] for index in order),
        measured_scores={name: scores[order] for name, scores in profile.measured_scores.items()},
        format_scores={name: scores[order] for name, scores in profile.format_scores.items()},
        point_layer_scores=profile.point_layer_scores[:, order],
        factors=profile.factors[order],
    )


def _shared_errors(file: ProfileFile, document: Document, unit: str) -> ErrorModel | None:
    """The error model of the profile that is named for it, from its own points."""
    if file.prediction.errors_of is None:
        return None
    other, at = read_profile(file.prediction.errors_of)
    found = profile_from_file(
        other.model_copy(update={"prediction": other.prediction.model_copy(update={"errors_of": None})}), at
    )
    where = ("prediction", "errors_of")
    if found.unit != unit:
        raise InputError(document.source, [document.problem(where, f"is of a drop in {found.unit}, not in {unit}")])
    if not found.link:
        raise InputError(document.source, [document.problem(where, f"{at.source} has no measured points")])
    return found.error_model


def _error_drops(file: ProfileFile, sign: float) -> dict[int, float]:
    assert file.error_tensor is not None
    drops: dict[int, float] = {}
    for width in sorted(file.error_tensor.widths):
        drops[width] = round(sign * (file.error_tensor.baseline - file.error_tensor.widths[width]), 9)
    return drops


def _assumptions(file: ProfileFile, unit: str) -> tuple[str, ...]:
    prediction = file.prediction
    sentences = [
        f"Accuracy: scores of {file.network} from {file.source} ({file.method}).",
        f"The drop is counted from {prediction.baseline_name} ({prediction.baseline:g}) in {unit}, "
        f"for {prediction.calibration} quantization.",
        "Widths without a measurement follow the 4^-bits law from the nearest measured one. " + _held_for(file),
    ]
    if operands_of(file) == ("both",):
        sentences.append(
            "Weight and activation were measured together and share one width; a plan with two widths counts the narrower."
        )
    if prediction.shrink:
        sentences.append(
            f"Of every layer's score {prediction.shrink:.0%} is the mean over the layers, which foresees left-out plans better."
        )
    if prediction.layer_spread is not None:
        sentences.append(
            f"Measured whole plans correct the layers' scores by factors, most within {prediction.layer_spread:g} times."
        )
    if prediction.errors_of is not None:
        sentences.append(
            f"The predictor's error is taken from the points of {prediction.errors_of}: {len(file.points)} of its own are too few."
        )
    if file.kept:
        kept = ", ".join(f"{name} at {width} bits" for name, width in file.kept.items())
        sentences.append(f"Not in the profile and kept as in its source: {kept}.")
    if file.error_tensor is not None:
        error, quantity = file.error_tensor, prediction.quantity.replace("top1", "top-1")
        sentences.append(
            f"Error tensor (assumption): network-level {quantity} of {error.source}, counted from {error.baseline_name} "
            f"({error.baseline:g}) and added in full. {error.note}"
        )
    else:
        sentences.append("Nothing is known about the error tensor: below 32 bits its drop is unknown.")
    return (*sentences, *file.notes)


def _held_for(file: ProfileFile) -> str:
    """For which formats the scores hold."""
    said = {
        operand: ", ".join([*map(str, sorted(next(iter(file.layers.values()))[operand])), "bits"])
        for operand in operands_of(file)
    }
    for operand, scores in next(iter(file.formats.values()), {}).items():
        said[operand] += f" and {', '.join(sorted(scores))}"
    shown = "; ".join(f"{'weight and activation' if name == 'both' else name} {text}" for name, text in said.items())
    return (
        f"Measured: integers of {shown}; any other format scores like the integers whose noise it adds to a normally distributed "
        "tensor (a law, not a measurement)."
    )


def _checked(document: Document) -> ProfileFile:
    return validate(ProfileFile, document, partial(check_profile, links=tuple(predictor.LINKS)))
