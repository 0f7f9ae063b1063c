"""The exceptions that a user of the program can cause: a wrong input, and a right one that nothing can satisfy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes
    ----------
    where
        Path of the offending value inside the input, such as ``layers[4].stride``; empty for the input as a whole.
    message
        The rule, the value found, and a way out, in one sentence without a final stop.
    line
        1-based line in the file, or None where the input is no file.
    """

    where: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.where
        if self.line is not None:
            place = f"{place} (line {self.line})" if place else f"line {self.line}"
        return f"{place}: {self.message}" if place else self.message


class InputError(ValueError):
    """Everything that is wrong with one input, all at once.

    Parameters
    ----------
    source
        The file or argument at fault, such as ``workloads/imagenet_resnet.yaml``.
    problems
        At least one problem; plain strings are problems without a place.
    """

    def __init__(self, source: str, problems: Sequence[Problem | str]) -> None:
        self.source = source
        self.problems = tuple(p if isinstance(p, Problem) else Problem("", p) for p in problems)
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        head = f"{self.source}: {len(self.problems)} problems"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])

    def __reduce__(self) -> tuple[type[InputError], tuple[str, tuple[Problem, ...]]]:
        return (InputError, (self.source, self.problems))


class NothingFeasible(InputError):
    """Every input is right, but no design that was asked for keeps its limits; each problem says which limit and by how much."""
