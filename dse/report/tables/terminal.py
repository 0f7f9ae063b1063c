"""Tables that a terminal shows: of a long one the rows that matter most."""

from __future__ import annotations

import pandas as pd

#: Rows of the longest table that is printed in a terminal.
MOST_ROWS = 1000


def longest_rows(frame: pd.DataFrame, by: str) -> tuple[pd.DataFrame, str]:
    """The rows of a table that a terminal shows, in their order, and what to say in its title of those left out; "" if none are.

    Parameters
    ----------
    by
        The column whose largest values are kept.
    """
    if len(frame) <= MOST_ROWS:
        return frame, ""
    kept = frame[by].rank(method="first", ascending=False) <= MOST_ROWS
    return frame[kept], f", the largest {MOST_ROWS:,} of {len(frame):,} (--json has all)"
