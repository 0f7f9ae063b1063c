"""The file of a sensitivity profile: what was measured on one network, with its source; nothing derived.

A profile file holds, in this order: the network and where the figures come from; what the score is and what is
predicted; layers that always keep a width and layers that share one; the score of every layer at every measured width;
measured whole-network points; and, apart from all that, an assumption for the error tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dse.precision.formats.names import format_problem, parse_format
from dse.precision.formats.properties import plain_integer
from dse.yaml_input import Key, yaml_number, yaml_word

Text = Annotated[str, Field(min_length=1)]
Width = Annotated[int, Field(ge=1, le=32)]
#: Scores and measured quantities are squared, summed and divided: far inside what a float holds, far outside what anybody measures.
Score = Annotated[float, Field(ge=0.0, le=1e30, allow_inf_nan=False)]
Measured = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Operand = Literal["both", "weight", "activation"]


def _format_name(name: str) -> str:
    if message := format_problem(name):
        raise PydanticCustomError("format", "{message}", {"message": message})
    form = parse_format(name)
    if plain_integer(form):
        raise PydanticCustomError("format", "an integer's width stands under 'layers'")
    return form.name


FormatName = Annotated[str, AfterValidator(_format_name)]
#: A width for all scored layers, or one per scored layer in the order of the file.
Widths = Annotated[list[Width], Field(min_length=1)] | Width

#: Unit of a predicted quantity, and whether a larger value is better.
QUANTITIES = {"top1": ("points", True), "kl": ("nat", False), "loss": ("nat", False)}

#: Fewest measured whole-network points that a link is fitted to.
MIN_POINTS = 3


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PredictionFile(_Strict):
    """What the measured points measure, and the link that was chosen for them; without points, no link.

    ``layer_spread``: measured points correct the layers' scores by factors of about that size, see
    :func:`dse.accuracy.predictor.fit_factors`; left out, scores are as measured. ``shrink``: see
    :attr:`dse.accuracy.profiles.profile.Profile.shrink`.
    """

    quantity: Literal["top1", "kl", "loss"]
    """What the points measure."""
    baseline: Measured
    """Its value without quantization."""
    baseline_name: Text
    """What the baseline is."""
    noise: Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)] | None = None
    """Spread of the same plan measured again, in the quantity's unit."""
    noise_source: Text | None = None
    """Where the noise is from."""
    calibration: Literal["post-training", "quantization-aware"]
    """Whether points were trained or only rounded."""
    link: Text | None = None
    """The law from summed score to loss, chosen by its error."""
    layer_spread: Annotated[float, Field(gt=1.0, le=10.0)] | None = None
    """Size of the factors by which points correct layers' scores."""
    shrink: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Share of every score that is the mean over the layers; left out, none."""
    errors_of: Text | None = None
    """Profile of the same source and method whose points tell the predictor's error, where these are too few to."""


class PointFile(_Strict):
    """One plan of the whole network with its measured value."""

    name: Text
    """Its name."""
    value: Measured
    """Measured value of the quantity."""
    both: Widths | None = None
    """Width of weight and activation, bits: one, or one per scored layer."""
    weight: Widths | None = None
    """Width of the weight, bits."""
    activation: Widths | None = None
    """Width of the activation, bits."""


class PointsFile(_Strict):
    """Measured points on their own, to calibrate a profile with."""

    points: Annotated[list[PointFile], Field(min_length=1)]
    """The points."""


class ErrorTensorFile(_Strict):
    """Network-level measurements of training with a narrow error tensor: an assumption, since they are of another run."""

    source: Text
    """Where it was measured."""
    note: Text
    """What about that run differs."""
    baseline: Measured
    """Value without narrowing."""
    baseline_name: Text
    """What the baseline is."""
    widths: Annotated[dict[Width, Measured], Field(min_length=1)]
    """Value by width of the error tensors, bits."""


class ProfileFile(_Strict):
    """A profile file as written; see ``workloads/profiles``."""

    network: Text
    """Name of the network."""
    source: Text
    """Where the figures come from."""
    method: Text
    """How they were measured."""
    score: Text
    """What the score is."""
    notes: list[Text] = []
    """What a reader must know."""
    weights: Annotated[int, Field(ge=1)] | None = None
    """Number of parameters, to check the network by."""
    prediction: PredictionFile
    """What is predicted, and by which law."""
    kept: dict[Text, Width] = {}
    """Layers that keep a width, bits."""
    ties: list[Annotated[list[Text], Field(min_length=2)]] = []
    """Layers that share one width."""
    layers: Annotated[
        dict[Text, dict[Operand, Annotated[dict[Width, Score], Field(min_length=1)]]], Field(min_length=1)
    ]
    """Score by layer, operand and width."""
    formats: dict[Text, dict[Operand, Annotated[dict[FormatName, Score], Field(min_length=1)]]] = {}
    """Score by layer, operand and format of formats that are no integers under one scale, where they were measured; others follow
    the noise of integers."""
    error_scores: dict[Text, Annotated[dict[Width, Score], Field(min_length=1)]] = {}
    """By layer and width, squared change of all gradients over their square when its error alone is rounded: where a plan with
    errors of several widths lies between those of one width, which ``error_tensor`` has."""
    points: list[PointFile] = []
    """Whole plans that were measured."""
    error_tensor: ErrorTensorFile | None = None
    """Assumption for the error tensors."""


def operands_of(file: ProfileFile) -> tuple[Operand, ...]:
    """``("both",)`` if weight and activation were measured together, else those measured apart, in this order."""
    first = next(iter(file.layers.values()))
    return tuple(operand for operand in ("both", "weight", "activation") if operand in first)


def check_profile(file: ProfileFile, links: tuple[str, ...]) -> list[tuple[Key, str]]:
    """Rules between fields: (path, message) of every one that is broken."""
    problems: list[tuple[Key, str]] = []
    operands = operands_of(file)
    if operands not in (("both",), ("weight", "activation")):
        problems.append(
            (("layers", next(iter(file.layers))), "expected scores of 'both', or of 'weight' and 'activation'")
        )
    for name, given in file.layers.items():
        if set(given) != set(operands):
            expected = " and ".join(operands)
            problems.append(
                (("layers", name), f"expected scores of {expected} as in the first layer, got {sorted(given)}")
            )
        if name in file.kept:
            problems.append((("kept", name), "is kept at a width and has scores; a layer is one or the other"))
    for name in file.error_scores:
        if name not in file.layers and name not in file.kept:
            problems.append((("error_scores", name), "is no layer of the profile"))
    problems += _check_widths(file, operands)
    problems += _check_formats(file, operands)
    problems += check_points(file.points, operands, len(file.layers))
    seen: set[str] = set()
    for index, tied in enumerate(file.ties):
        for position, name in enumerate(tied):
            if name not in file.layers:
                problems.append((("ties", index, position), f"'{name}' is no layer with scores"))
            elif name in seen:
                problems.append((("ties", index, position), f"'{name}' is in two ties; join them"))
            seen.add(name)
    if file.prediction.layer_spread is not None and file.prediction.link is None:
        problems.append(
            (("prediction", "layer_spread"), "means nothing without a link that is fitted to measured points")
        )
    if file.prediction.noise_source is not None and file.prediction.noise is None:
        problems.append((("prediction", "noise_source"), "means nothing without noise"))
    if (file.prediction.link is None) != (not file.points):
        message = (
            "belongs to measured points" if file.prediction.link else "missing; 'dse calibrate' chooses it by error"
        )
        problems.append((("prediction", "link"), message))
    elif file.points and len(file.points) < MIN_POINTS:
        problems.append((("points",), f"expected at least {MIN_POINTS} points to fit, or none, got {len(file.points)}"))
    elif file.prediction.link is not None and file.prediction.link not in links:
        problems.append((("prediction", "link"), f"expected one of {', '.join(links)}, got '{file.prediction.link}'"))
    return problems


def _check_widths(file: ProfileFile, operands: tuple[Operand, ...]) -> list[tuple[Key, str]]:
    problems: list[tuple[Key, str]] = []
    for operand in operands:
        first, reference = next(
            ((name, set(given[operand])) for name, given in file.layers.items() if operand in given), ("", set())
        )
        for name, given in file.layers.items():
            if operand in given and set(given[operand]) != reference:
                problems.append(
                    (
                        ("layers", name, operand),
                        f"expected the widths of '{first}' ({_words(reference)}), got {_words(set(given[operand]))}",
                    )
                )
    return problems


def _check_formats(file: ProfileFile, operands: tuple[Operand, ...]) -> list[tuple[Key, str]]:
    """Formats are measured in every layer that has scores, the same of an operand in each."""
    if not file.formats:
        return []
    problems: list[tuple[Key, str]] = []
    if unknown := [name for name in file.formats if name not in file.layers]:
        problems += [(("formats", name), "is no layer with scores") for name in unknown]
    if missing := [name for name in file.layers if name not in file.formats]:
        problems.append((("formats",), f"lacks {len(missing)} of the layers with scores, such as '{missing[0]}'"))
    reference = next(iter(file.formats.values()))
    for name, given in file.formats.items():
        if extra := sorted(set(given) - set(operands)):
            problems.append((("formats", name), f"expected scores of {' or '.join(operands)}, got {', '.join(extra)}"))
        if {key: set(scores) for key, scores in given.items()} != {key: set(s) for key, s in reference.items()}:
            problems.append((("formats", name), "expected the operands and formats of the first layer"))
    return problems


def check_points(points: Sequence[PointFile], operands: Sequence[str], layers: int) -> list[tuple[Key, str]]:
    """Points have widths of the profile's operands, for all its layers, and a name each: (path, message) of those that do not."""
    problems: list[tuple[Key, str]] = []
    seen: set[str] = set()
    for index, point in enumerate(points):
        given: dict[str, Any] = {name: getattr(point, name) for name in ("both", "weight", "activation")}
        present = {name for name, widths in given.items() if widths is not None}
        if present != set(operands):
            problems.append((("points", index), f"expected widths of {' and '.join(operands)}, got {sorted(present)}"))
        for name in sorted(present):
            if isinstance(given[name], list) and len(given[name]) != layers:
                message = f"expected one width or one for each of the {layers} layers, got {len(given[name])}"
                problems.append((("points", index, name), message))
        if point.name in seen:
            problems.append((("points", index, "name"), f"'{point.name}' names two points"))
        seen.add(point.name)
    return problems


def profile_text(file: ProfileFile) -> str:
    """A profile as YAML that people read: one line per layer and operand, one per point; reading it gives the same file."""
    lines = [f"{key}: {yaml_word(getattr(file, key))}" for key in ("network", "source", "method", "score")]
    lines += ["notes:", *(f"  - {yaml_word(note)}" for note in file.notes)] if file.notes else []
    lines += [f"weights: {file.weights}"] if file.weights is not None else []
    lines += ["", "prediction:"]
    for key, value in file.prediction.model_dump(exclude_none=True).items():
        lines.append(f"  {key}: {yaml_number(value) if isinstance(value, float) else yaml_word(value)}")
    if file.kept:
        lines += ["", "kept: {" + ", ".join(f"{yaml_word(name)}: {width}" for name, width in file.kept.items()) + "}"]
    if file.ties:
        lines += ["", "ties:", *("  - [" + ", ".join(map(yaml_word, tied)) + "]" for tied in file.ties)]
    lines += ["", "# Per operand and width in bits: score.", "layers:"]
    for name, given in file.layers.items():
        lines.append(f"  {yaml_word(name)}:")
        lines += [f"    {operand}: {_scores(scores)}" for operand, scores in given.items()]
    if file.formats:
        lines += ["", "# Per operand and format that is no integer: score.", "formats:"]
    for name, measured in file.formats.items():
        lines.append(f"  {yaml_word(name)}:")
        lines += [f"    {operand}: {_scores(scores)}" for operand, scores in measured.items()]
    if file.error_scores:
        lines += ["", "# Noise in all gradients from one layer's error, per width in bits.", "error_scores:"]
        lines += [f"  {yaml_word(name)}: {_scores(scores)}" for name, scores in file.error_scores.items()]
    if file.points:
        lines += ["", "# Measured whole-network plans; one width per layer above, in its order.", "points:"]
    for point in file.points:
        widths = {
            key: value for key, value in point.model_dump(exclude_none=True).items() if key not in ("name", "value")
        }
        lines.append(f"  - name: {yaml_word(point.name)}")
        lines.append(f"    value: {yaml_number(point.value)}")
        lines += [f"    {operand}: {value}" for operand, value in widths.items()]
    if file.error_tensor is not None:
        error = file.error_tensor
        lines += ["", "error_tensor:"]
        lines += [f"  {key}: {yaml_word(getattr(error, key))}" for key in ("source", "note", "baseline_name")]
        lines += [f"  baseline: {yaml_number(error.baseline)}", f"  widths: {_scores(error.widths)}"]
    return "\n".join(lines) + "\n"


def _scores(scores: Mapping[int, float] | Mapping[str, float]) -> str:
    items: list[tuple[int | str, float]] = sorted(scores.items())
    words = ((yaml_word(name) if isinstance(name, str) else name, score) for name, score in items)
    return "{" + ", ".join(f"{name}: {yaml_number(score)}" for name, score in words) + "}"


def _words(widths: set[int]) -> str:
    return ", ".join(str(width) for width in sorted(widths)) + " bits"
