"""The front as a table for a paper: LaTeX (booktabs), Markdown or CSV, with the rows and columns that one asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dse.errors import InputError
from dse.files import csv_text, write_all
from dse.goals import objective_columns
from dse.report.quantities import DROPS, quantity
from dse.report.run.data import RunData, hardware_columns, read_run
from dse.report.tables.runs import notable
from dse.units import format_value
from dse.yaml_input import suggest

#: Stands for all parameters of the hardware among the columns.
HARDWARE = "hardware"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "²": r"$^2$",
    "µ": r"$\mu$",
}


def latex_escape(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def front_cells(
    run: RunData, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the front as text.

    Parameters
    ----------
    columns
        Columns of front.csv in the order wanted; ``hardware`` stands for all parameters of the hardware. Default: the objectives
        and the interval of the drop. The design comes first, asked for or not.
    designs
        Names of designs, or ``knee``, ``fastest``, ``lowest-energy``, in the order wanted. Default: the whole front by latency.

    Raises
    ------
    InputError
        Every unknown column and design at once.
    """
    known = [str(column) for column in run.front.columns]
    asked = [name for wanted in columns or () for name in (hardware_columns(run) if wanted == HARDWARE else [wanted])]
    problems = [f"no column '{name}'{suggest(name, [*known, HARDWARE])}" for name in asked if name not in known]
    rows: list[tuple[str, Mapping[Any, Any]]] = []
    if designs is None:
        ordered = run.front.sort_values(["latency_s", "energy_j"], kind="stable")
        rows = [(str(row["design"]), row) for row in ordered.to_dict("records")]
    roles, by_name = notable(run), {str(row["design"]): row for row in run.front.to_dict("records")}
    for name in designs or ():
        if name in roles:
            rows.append((f"{name} {roles[name]['design']}", roles[name].to_dict()))
        elif name in by_name:
            rows.append((name, by_name[name]))
        else:
            problems.append(f"no design '{name}' on the front{suggest(name, [*roles, *by_name])}")
    if problems:
        raise InputError(str(run.folder), problems)
    default = [name for name in (*objective_columns(), *DROPS[1:]) if name in known]
    names = [name for name in dict.fromkeys(asked or default) if name != "design"]
    counted = set(hardware_columns(run))
    titles = ["design", *(quantity(name, run.info).title for name in names)]
    return titles, [[called, *(_cell(row[name], name in counted) for name in names)] for called, row in rows]


def _cell(value: Any, counted: bool) -> str:
    """A value; whole numbers of what is counted, such as the rows of an array, have no digits behind the point."""
    if isinstance(value, (str, bool)):
        return str(value)
    whole = counted and math.isfinite(value) and value == round(value)
    return f"{value:.0f}" if whole else format_value(value, digits=4)


def markdown_table(
    run: RunData | Path, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None
) -> str:
    """The front as a Markdown table; plain numbers, units in the head. Parameters as of :func:`front_cells`."""
    titles, rows = front_cells(_run(run), columns, designs)
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines) + "\n"


def latex_table(run: RunData | Path, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None) -> str:
    """The front as a LaTeX table for the booktabs package; plain numbers, units in the head. Parameters as of
    :func:`front_cells`."""
    titles, rows = front_cells(_run(run), columns, designs)
    body = [" & ".join(map(latex_escape, row)) + r" \\" for row in rows]
    head = " & ".join(map(latex_escape, titles)) + r" \\"
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_table(run: RunData | Path, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None) -> str:
    """The same as CSV, units in the head. Parameters as of :func:`front_cells`."""
    titles, rows = front_cells(_run(run), columns, designs)
    return csv_text(titles, rows)


def _run(run: RunData | Path) -> RunData:
    return run if isinstance(run, RunData) else read_run(run)


#: File and text of each form of table.
FORMS: Mapping[str, tuple[str, Callable[..., str]]] = {
    "latex": ("front.tex", latex_table),
    "markdown": ("front.md", markdown_table),
    "csv": ("front.csv", csv_table),
}


def write_tables(
    folder: Path, form: str, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None
) -> Path:
    """Write the front as ``front.tex``, ``front.md`` or ``front.csv`` into ``tables/`` of a run folder.

    Parameters
    ----------
    folder
        A run folder.
    form
        ``latex`` (for the booktabs package), ``markdown`` or ``csv``.
    columns, designs
        As of :func:`front_cells`.

    Raises
    ------
    InputError
        Unknown form, column or design, no run folder, or the file cannot be written.
    """
    return write_all(table_file(folder, form, columns, designs))[0]


def table_file(
    folder: Path, form: str, columns: Sequence[str] | None = None, designs: Sequence[str] | None = None
) -> dict[Path, str]:
    """What :func:`write_tables` writes, by its place."""
    if form not in FORMS:
        raise InputError("--tables", [f"'{form}' is no form of tables; known: {', '.join(FORMS)}"])
    run = read_run(folder)
    name, text = FORMS[form]
    return {run.folder / "tables" / name: text(run, columns, designs)}
