"""Tables of measured pre-training losses, in the columns of their two sources, as recipes and figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dse.accuracy.law.recipe import Recipe, Rounded
from dse.errors import InputError
from dse.files import read_text


@dataclass(frozen=True)
class Run:
    """One measured run.

    Attributes
    ----------
    recipe
        None where a name of the table is not known, told by ``why``.
    label
        The table's own words for the recipe.
    parameters, tokens
        Without embeddings; seen in training.
    loss, excess
        Validation loss, and its difference to BF16 at the same size and tokens, nat per token.
    """

    recipe: Recipe | None
    label: str
    parameters: float
    tokens: float
    loss: float
    excess: float
    why: str = ""


def _mx(rounding: str = "nearest", *features: str) -> Rounded:
    return Rounded("mxfp4_e2m1", "mxfp4_e2m1", rounding, features)


#: Forward quantizers of the MXFP4 table.
_FORWARD = {
    "BF16": Rounded(),
    "QuEST": _mx("nearest", "mx_quest"),
    "QuESTNoQuantScale": _mx("nearest", "mx_quest", "real_scale"),
    "AlbertTsengQuantizer": _mx("stochastic", "stochastic_forward"),
    "AlbertTsengDeterministic": _mx(),
    "Eden32": _mx("nearest", "mx_eden"),
    "Eden128": _mx("nearest", "mx_eden", "eden_128"),
}
#: Backward quantizers of the MXFP4 table: the kind of rounding.
_BACKWARD = {
    "BF16": "",
    "AlbertTsengQuantizer": "stochastic",
    "AlbertTsengDeterministic": "nearest",
    "EdenOld": "eden",
    "Eden128": "eden",
    "Eden32": "eden_32",
    "QuEST": "clipped",
}
_MXFP4_COLUMNS = {
    "forward_mxfp4_quantizer",
    "backward_mxfp4_quantizer",
    "non_embedding_params",
    "tokens",
    "val_loss_nats",
}
_NVFP4_COLUMNS = {"group", "N", "D", "final_loss", "bquant", "bbackward_scheme", "sscheme"}


def read_runs(path: str | Path) -> tuple[Run, ...]:
    """Runs of a table with the columns of ``tests/data/pretraining_losses_mxfp4.csv`` or ``pretraining_losses_nvfp4.csv``.

    Lines at its top that begin with # are comments.

    Raises
    ------
    InputError
        No such file, other columns, or rows without numbers, with their lines.
    """
    lines = read_text(path, "a CSV file").splitlines()
    begin = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    rows = list(csv.DictReader(lines[begin:]))
    columns = set(rows[0]) if rows else set()
    if columns >= _MXFP4_COLUMNS:
        read, names = _mxfp4_run, ("non_embedding_params", "tokens", "val_loss_nats")
    elif columns >= _NVFP4_COLUMNS:
        read, names = _nvfp4_run, ("N", "D", "final_loss")
    else:
        raise InputError(
            str(path),
            [f"expected the columns {', '.join(sorted(_MXFP4_COLUMNS))}; or {', '.join(sorted(_NVFP4_COLUMNS))}"],
        )
    runs, problems = [], []
    for line, row in enumerate(rows, start=begin + 2):
        try:
            parameters, tokens, loss = (float(row[name]) for name in names)
            delta = float(row.get("delta_vs_bf16") or "nan")
        except ValueError:
            problems.append(f"line {line}: expected numbers in {', '.join(names)}")
            continue
        recipe, label, why = read(row)
        runs.append(Run(recipe, label, parameters, tokens, loss, delta, why))
    if problems:
        raise InputError(str(path), problems)
    return tuple(runs)


def _mxfp4_run(row: Mapping[str, str]) -> tuple[Recipe | None, str, str]:
    forward, backward = row["forward_mxfp4_quantizer"], row["backward_mxfp4_quantizer"]
    label = f"forward {forward}, backward {backward}"
    unknown = [name for name, known in ((forward, _FORWARD), (backward, _BACKWARD)) if name not in known]
    if unknown:
        return None, label, f"unknown quantizer {', '.join(unknown)}"
    kind = _BACKWARD[backward]
    behind = _mx(kind) if kind else Rounded()
    return Recipe(_FORWARD[forward], behind, behind), label, ""


def _nvfp4_run(row: Mapping[str, str]) -> tuple[Recipe | None, str, str]:
    recipe, why = _nvfp4_recipe(row)
    skipped = {"Nstr", "N", "D", "D/N", "final_loss", "delta_vs_bf16"}
    said = (
        f"{key}={value}" for key, value in row.items() if key not in skipped and value not in ("", "False", "1", "1.0")
    )
    return recipe, " ".join(said), why


def _nvfp4_recipe(row: Mapping[str, str]) -> tuple[Recipe | None, str]:
    group, scheme = row["group"], row["sscheme"]
    if scheme:
        return _SCHEMES[scheme](
            row
        ) if scheme in _SCHEMES else None, "" if scheme in _SCHEMES else f"unknown scheme {scheme}"
    forward = Rounded()
    if group.startswith("forward"):
        forward = _forward(row, "mxfp4_e2m1" if group == "forward_quartet" else "nvfp4")
    if row["bquant"] in ("", "NoQuantizer"):
        return Recipe(forward), ""
    kind = {"sr": "stochastic", "eden": "eden", "no": "nearest_scaled"}.get(row["bunbiased"], "")
    if row["bquant"] == "AlbertTsengQuantizer":
        plain = "nearest" if group.startswith("orig") else "nearest_scaled"
        kind = "stochastic" if row["bstochastic"] == "True" else plain
    if not kind:
        return None, f"unknown backward quantizer {row['bquant']} {row['bunbiased']}"
    form = "nvfp4" if row["bscale_dtype"] == "e4m3" else "mxfp4_e2m1"
    return Recipe(forward, *_backward(form, kind, row["bbackward_scheme"])), ""


def _forward(row: Mapping[str, str], form: str) -> Rounded:
    features = []
    family = "mx" if form.startswith("mx") else "nv"
    if row.get("ffour_over_six") == "True" or row.get("sfour_over_six") == "True":
        features.append("four_over_six")
    if _number(row, "fhadamard_dim", 1.0) > 1.0:
        features.append(f"{family}_hadamard")
    if _number(row, "fscale_override", 1.0) != 1.0:
        features.append("smaller_scale")
    square = row.get("fsquare") == "True" or row["sscheme"] == "nvidia"
    return Rounded(f"{form}:16x16" if square else form, form, "nearest", tuple(features))


def _number(row: Mapping[str, str], name: str, default: float) -> float:
    return float(row.get(name) or default)


def _backward(form: str, kind: str, scheme: str, *features: str) -> tuple[Rounded, Rounded]:
    weight = form if "Q(Wt)" in scheme else "bf16"
    data = Rounded(form, weight, kind, features) if "Q(E)" in scheme else Rounded()
    gradient = Rounded(form, form, kind, features) if "Q(Et)" in scheme else Rounded()
    return data, gradient


def _quartet2(row: Mapping[str, str]) -> Recipe:
    features = ["eden_hadamard_32"] if _number(row, "shadamard_dim", 128.0) < 128.0 else []
    features += ["delayed_amax"] if row.get("sdelayed_amax") == "True" else []
    return Recipe(_forward(row, "nvfp4"), *_backward("nvfp4", "eden", "Q(E)Q(Wt)t_Q(Et)Q(Xt)t", *features))


def _tetrajet2(row: Mapping[str, str]) -> Recipe:
    return Recipe(_forward(row, "nvfp4"), *_backward("nvfp4", "stochastic", "Q(E)Q(Wt)t_Q(Et)Q(Xt)t"))


def _nvidia(row: Mapping[str, str]) -> Recipe:
    return Recipe(_forward(row, "nvfp4"), *_backward("nvfp4", "stochastic", "Q(E)W_Q(Et)Q(Xt)t"))


#: Whole recipes of the NVFP4 table, put together from products that it also measures alone: NVIDIA's (arXiv 2509.25149: square
#: groups of the weight serve both passes, stochastic errors), TetraJet-v2's and Quartet II's.
_SCHEMES = {"nvidia": _nvidia, "quartet_v2": _quartet2, "tetrajetv2": _tetrajet2}
