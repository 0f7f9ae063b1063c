"""Plans that a search is held against on its own hardware: uniform formats, and the published maps that its profile names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.accuracy import Profile
from dse.files import is_file
from dse.precision import Plan
from dse.precision.formats.properties import Format, parse_format
from dse.workload.model import Network
from dse.yaml_input import load_yaml

#: Uniform baselines by name: one format for weight, activation and error, or a width.
UNIFORM: tuple[tuple[str, str | int], ...] = (
    ("FP32", "fp32"),
    ("BF16", "bf16"),
    ("uniform 8 bit", 8),
    ("uniform 4 bit", 4),
)
#: Width of the error tensors that a published map of weights and activations gets.
PUBLISHED_ERROR_BITS = 8
#: Most published maps that are kept as baselines.
MOST_PUBLISHED = 3


def baseline_plans(
    network: Network, profile: Profile | None, errors: Format | None = None
) -> list[tuple[str, Plan, str]]:
    """Name, plan and note of every baseline of a network; without a profile no published map is known.

    Parameters
    ----------
    errors
        Format of the error tensors of the design that is held against them, for uniform plans of weights and activations with the
        same one: what is gained over those the map itself gains. None: no such plans.
    """
    found = []
    for name, width in UNIFORM:
        if isinstance(width, int):
            plan = Plan.from_bits(network, weight=width, activation=width, error=width)
        else:
            plan = Plan.uniform(network, weight=width, activation=width, error=width)
        found.append((name, plan, ""))
    for width in (8, 4):
        if errors is not None and errors != parse_format(f"int{width}"):
            plan = uniform_with_errors(network, width, errors)
            found.append((f"uniform {width} bit, errors of {said_errors(errors)}", plan, ""))
    return found if profile is None else found + published_plans(network, profile)


def uniform_with_errors(network: Network, bits: int, errors: Format) -> Plan:
    """Integers of one width for weights and activations, and a format for errors."""
    return Plan.from_formats(network, {"weight": f"int{bits}", "activation": f"int{bits}", "error": errors})


def said_errors(form: Format) -> str:
    """A format of errors in words: its width where it is an integer.

    >>> said_errors(parse_format("int6")), said_errors(parse_format("fp8_e5m2"))
    ('6 bits', 'fp8_e5m2')
    """
    return f"{form.element_bits} bits" if form == parse_format(f"int{form.element_bits}") else form.name


def published_plans(network: Network, profile: Profile) -> list[tuple[str, Plan, str]]:
    """Up to :data:`MOST_PUBLISHED` published maps with their measured accuracy, spread over the profile's whole-network points.

    Only profiles that measured weight and activation at one width name their maps layer by layer. Where two points have one
    map, which was then trained twice, the first counts.
    """
    if profile.operands != ("both",) or not is_file(profile.path):
        return []
    value = load_yaml(profile.path).value
    points = _distinct([point for point in value.get("points", []) if isinstance(point.get("both"), list)])
    count = min(len(points), MOST_PUBLISHED)
    chosen = [points[round(k * (len(points) - 1) / max(count - 1, 1))] for k in range(count)]
    names = list(value["layers"])
    source = profile.source.split(",")[0]
    result = []
    for point in chosen:
        widths = dict(zip(names, point["both"], strict=True))
        plan = Plan.from_bits(
            network, weight=widths, activation=widths, error=PUBLISHED_ERROR_BITS, default=8, kept=profile.kept
        )
        note = f"bit map of {source}, measured there at {point['value']:g} {profile.quantity}"
        result.append((f"{source} {point['name']}", plan, note))
    return result


def _distinct(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    seen: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for point in points:
        seen.setdefault(tuple(point["both"]), point)
    return list(seen.values())
