"""The entry point: what the command line asks for, and how it ends.

Exit codes: 0 done, 1 the program failed (a bug: please report it), 2 an input is wrong, 3 nothing feasible, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
from typing import Annotated, Any

import typer

from dse.cli.options import app
from dse.cli.terminal import run_program, say


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from dse.version import VERSION

        say(VERSION)
        raise typer.Exit()


def main() -> None:
    """Entry point: an input error is one message and exit code 2; see :func:`dse.cli.terminal.run_program`."""
    run_program(_asked)


def _asked() -> int:
    """Run what the command line asks for."""
    usage_error: Any = typer.BadParameter.__bases__[0]
    try:
        code = app(standalone_mode=False)
    except usage_error as error:
        shown = io.StringIO()
        error.show(file=shown)
        say(shown.getvalue().rstrip("\n"), error=True)
        return int(error.exit_code)
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0
