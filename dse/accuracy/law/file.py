"""The file of a loss law: fitted parameters with their errors, what they were fitted to, and what was foreseen without it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dse.yaml_input import Key

#: Parameters that the formulas need whatever the recipe.
REFERENCE = ("irreducible", "log_a", "alpha", "log_b", "beta", "gamma")
EXCESS = (
    *("forward", "forward_size", "forward_tokens", "forward_growth", "share_weight", "share_gradient", "again"),
    *("bias_size", "bias_tokens", "noise_tokens"),
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Estimate(_Strict):
    """A fitted parameter and its standard error."""

    value: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
    error: Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]


class LeftOut(_Strict):
    """Errors of runs that the fit did not see, nat: absolute, in the median, of the excess over BF16 and of the loss."""

    excess: float
    """Median absolute error of the excess."""
    loss: float
    """Median absolute error of the loss."""
    worst_loss: float
    """Largest absolute error of the loss."""
    runs: int
    """How many runs were left out in turn."""


class LawFile(_Strict):
    """A fitted loss law, as ``benchmarks/fit_loss_law.py`` writes it."""

    source: str
    """The measured runs."""
    parameters: tuple[float, float]
    """Smallest and largest measured model, parameters without embeddings."""
    tokens_per_parameter: tuple[float, float]
    """Shortest and longest measured run."""
    formats: tuple[str, ...]
    """Formats that runs were measured with, beside BF16."""
    reference: dict[str, Estimate]
    """Parameters of the loss in BF16."""
    reference_covariance: tuple[tuple[float, ...], ...]
    """Their covariance, in their order."""
    reference_spread: float
    """Spread of measured BF16 losses about the law, nat."""
    excess: dict[str, Estimate]
    """Parameters of what low precision adds."""
    left_out: dict[str, LeftOut]
    """Errors with one size, one recipe or one number of tokens per parameter left out."""


def check_law(file: LawFile) -> list[tuple[Key, str]]:
    """Parameters and tables that are missing or do not fit together."""
    problems: list[tuple[Key, str]] = []
    for key, given, needed in (("reference", file.reference, REFERENCE), ("excess", file.excess, EXCESS)):
        missing = [name for name in needed if name not in given]
        if missing:
            problems.append(((key,), f"lacks {', '.join(missing)}"))
    if any(len(row) != len(file.reference) for row in (*file.reference_covariance, file.reference_covariance)):
        problems.append((("reference_covariance",), f"expected {len(file.reference)} rows of as many numbers"))
    if missing := [name for name in ("size", "recipe", "tokens") if name not in file.left_out]:
        problems.append((("left_out",), f"lacks {', '.join(missing)}"))
    return problems
