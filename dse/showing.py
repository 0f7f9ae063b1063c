"""How results show themselves in a terminal and a notebook: one line each, and a small table.

The classes that users hold call these from ``__repr__`` and ``_repr_html_``, so that a name at the end of a cell tells what it is
and does not print thousands of characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dse.errors import printable

#: Rows of a table in a notebook.
ROWS = 20


def one_line(kind: str, name: str, facts: Iterable[str]) -> str:
    """``Kind(name: fact, fact)``; empty facts are left out.

    >>> one_line("Network", "tiny", ["3 layers", "", "batch 4"])
    'Network(tiny: 3 layers, batch 4)'
    """
    said = ", ".join(fact for fact in facts if fact)
    return printable(f"{kind}({name}: {said})" if said else f"{kind}({name})")


def html_table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table under its caption for a notebook: the first :data:`ROWS` rows, and how many there are."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(columns))
    more = f"<p>{len(table) - ROWS} more rows</p>" if len(table) > ROWS else ""
    shown = table.head(ROWS).to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}", justify="left")
    return f"<p>{escape(printable(caption))}</p>{shown}{more}"
