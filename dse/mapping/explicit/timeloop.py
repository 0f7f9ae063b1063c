"""Tables of Timeloop runs: every row a layer and a mapping in Timeloop's one line, parsed and counted in one call.

Columns: `mapping.mapping` as in `L3[WIO] P28 R7 Q56 K8 - L2[WI] N1 K4X - L1[O] K2 C16X - L0[W] P2` (any level names, operands and
dims; X and Y are the axes of spatial loops), the layer's bounds `prob.N` ... `prob.S` (default 1; `prob.G` too), and
`prob.Hstride, prob.Wstride, prob.Hdilation, prob.Wdilation` (default 1), H with P and R.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from dse.errors import InputError, Problem
from dse.mapping.explicit.counts import TIMELOOP, Conventions, Counts, batch_of, counts_of_batch
from dse.mapping.explicit.mapping import Level, Mapping, mapping_problems
from dse.mapping.explicit.text import parse_mapping
from dse.mapping.nest import Nest
from dse.names import DIMS

MAPPING_COLUMN = "mapping.mapping"
WINDOW_COLUMNS = ("prob.Hstride", "prob.Wstride", "prob.Hdilation", "prob.Wdilation")
#: Problems that one message lists.
MOST_PROBLEMS = 20


def nests_of_rows(rows: pd.DataFrame) -> list[Nest]:
    """Layers of a table's rows.

    Raises
    ------
    InputError
        A bound, stride or dilation that is no integer of at least 1.
    """
    names = (*(f"prob.{dim}" for dim in DIMS), *WINDOW_COLUMNS)
    one = np.ones(len(rows))
    values = np.column_stack([pd.to_numeric(rows[c], errors="coerce") if c in rows else one for c in names]).astype(
        float
    )
    wrong = ~((values >= 1) & (values == np.floor(values)))
    if wrong.any():
        places = np.argwhere(wrong)[:MOST_PROBLEMS]
        raise InputError(
            "table",
            [
                Problem(f"row {rows.index[i]}.{names[j]}", "expected an integer of at least 1")
                for i, j in places.tolist()
            ],
        )
    return [
        Nest(
            (row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7]),
            "forward",
            (row[8], row[9]),
            (row[10], row[11]),
        )
        for row in values.astype(np.int64).tolist()
    ]


def mappings_of_rows(rows: pd.DataFrame, nests: list[Nest]) -> tuple[list[Mapping], tuple[str, ...]]:
    """Mappings of a table's rows, all with the same levels from the inside to the outside, and the names of these.

    A level that a row lacks holds nothing in it, so that places in arrays of counts mean the same memory in every row.

    Raises
    ------
    InputError
        Lines that cannot be read or do not cover their layer, each with its row.
    """
    problems: list[Problem] = []
    mappings: list[Mapping] = []
    known: dict[str, tuple[Mapping, str]] = {}
    for number, (text, nest) in enumerate(zip(rows[MAPPING_COLUMN], nests, strict=True)):
        if text not in known:
            try:
                known[text] = parse_mapping(str(text), MAPPING_COLUMN), ""
            except InputError as error:
                known[text] = Mapping((), ()), "; ".join(str(p) for p in error.problems)
        mapping, wrong = known[text]
        mappings.append(mapping)
        found = [wrong] if wrong else [str(p) for p in mapping_problems(mapping, nest)]
        problems += [Problem(f"row {rows.index[number]}", message) for message in found]
    if problems:
        raise InputError(MAPPING_COLUMN, problems[:MOST_PROBLEMS])
    order = _level_order(mappings)
    empty = {name: Level(name, (None, None, None)) for name in order}
    whole = [
        replace(
            mapping, levels=tuple((empty | {level.name: level for level in mapping.levels})[name] for name in order)
        )
        for mapping in mappings
    ]
    return whole, order


def _level_order(mappings: list[Mapping]) -> tuple[str, ...]:
    """All level names, inner to outer, in an order that every mapping agrees with.

    Raises
    ------
    InputError
        Two mappings that have two levels in opposite orders.
    """
    orders = {tuple(level.name for level in mapping.levels) for mapping in mappings}
    above: dict[str, set[str]] = {}
    for order in orders:
        for i, name in enumerate(order):
            above.setdefault(name, set()).update(order[i + 1 :])
    result: list[str] = []
    while above:
        free = sorted(name for name in above if not any(name in others for others in above.values()))
        if not free:
            raise InputError(MAPPING_COLUMN, [f"rows disagree in the order of the levels {', '.join(sorted(above))}"])
        result.append(free[0])
        del above[free[0]]
    return tuple(result)


def counts_of_rows(rows: pd.DataFrame, conventions: Conventions = TIMELOOP) -> tuple[Counts, tuple[str, ...]]:
    """Counts of all rows by (row, level, role), and the names of the levels, inner to outer.

    Raises
    ------
    InputError
        See :func:`nests_of_rows` and :func:`mappings_of_rows`.
    """
    nests = nests_of_rows(rows)
    mappings, names = mappings_of_rows(rows, nests)
    return counts_of_batch(batch_of(mappings, nests), conventions), names
