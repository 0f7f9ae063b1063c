"""The exceptions that a user can cause (a wrong input, and a right one that nothing can satisfy), and how foreign text is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Problems that a message shows; the rest are counted.
SHOWN_PROBLEMS = 20
#: Longest place and message of a problem and longest name of an input that are shown whole, characters.
PLACE_CHARACTERS, MESSAGE_CHARACTERS, SOURCE_CHARACTERS = 160, 1000, 300

#: What moves a cursor, colours a terminal, turns the direction of text or ends a line unseen: C0 and C1 controls, marks of
#: direction, line and paragraph separators, halves of surrogate pairs (which no encoding can write).
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "") -> str:
    r"""Text with every control character written out, but for those to keep.

    >>> printable("a\x1b[31m\nb"), printable("one\ntwo", keep="\n")
    ('a\\x1b[31m\\nb', 'one\ntwo')
    """
    return _CONTROL.sub(lambda found: found[0] if found[0] in keep else repr(found[0])[1:-1], text)


def shortened(text: str, most: int) -> str:
    """Text of at most so many characters: its beginning and its end, with dots between.

    >>> shortened("abcdefghij", 8), shortened("abcdefghij", 10)
    ('abcde...', 'abcdefghij')
    >>> len(shortened("a" * 1000, 160)), shortened("a" * 1000 + "b", 160)[-3:]
    (160, 'aab')
    """
    if len(text) <= most:
        return text
    end = most // 3 if most > 30 else 0
    return f"{text[: most - 3 - end]}...{text[len(text) - end :]}"


def control_problem(text: str) -> str:
    r"""Why a text may not stand in a file of ours: "" if it has no control characters but tabs and line ends.

    >>> control_problem("two\nlines"), control_problem("a\x07b")
    ('', "has the control character '\\x07'; expected plain text")
    """
    found = next((character for character in _CONTROL.findall(text) if character not in "\t\n\r"), None)
    return "" if found is None else f"has the control character {found!r}; expected plain text"


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
        place = shortened(printable(self.where), PLACE_CHARACTERS)
        if self.line is not None:
            place = f"{place} (line {self.line})" if place else f"line {self.line}"
        message = shortened(printable(self.message), MESSAGE_CHARACTERS)
        return f"{place}: {message}" if place else message


class InputError(ValueError):
    """Everything that is wrong with one input, all at once; as text, the first problems and how many more there are.

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
        source = shortened(printable(self.source), SOURCE_CHARACTERS)
        if len(self.problems) == 1:
            return f"{source}: {self.problems[0]}"
        lines = [f"{source}: {len(self.problems)} problems"]
        lines += [f"  {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"  and {len(self.problems) - SHOWN_PROBLEMS:,} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, tuple[Problem, ...]]]:
        return (InputError, (self.source, self.problems))


class NothingFeasible(InputError):
    """Every input is right, but no design that was asked for keeps its limits; each problem says which limit and by how much."""
