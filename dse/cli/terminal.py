"""Where the command line meets the terminal: text that cannot harm it, streams that may be closed, full or cut off, exit codes.

Names come from files of other people. What moves a cursor or hides text is written out before it is shown
(:func:`dse.errors.printable`), and no name is read as rich's markup unless the table that shows it says so.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from dse.errors import InputError, NothingFeasible, printable

DONE, FAILED, WRONG_INPUT, NOTHING_FEASIBLE, STOPPED = 0, 1, 2, 3, 130
#: What a full or a broken standard output answers.
_NO_OUTPUT = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EBADF, errno.EDQUOT)
#: Columns of tables that go into a file or a pipe, where the variable COLUMNS does not say.
WIDE = 160
#: No table is squeezed into less.
NARROW = 40


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print a text, control characters but line ends and tabs written out."""
    print(printable(text, keep="\n\t"), end=end, file=sys.stderr if error else sys.stdout)


def console(stderr: bool = False) -> Any:
    """A rich console on a standard stream that shows foreign text safely, and tables whole (:func:`fitted`)."""
    from rich.console import Console
    from rich.table import Table

    class SafeConsole(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(printable(text, keep="\n\t"), **options)

        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(fitted(item, self) if isinstance(item, Table) else item for item in objects), **options)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    target = sys.stderr if stderr else sys.stdout
    return SafeConsole(stderr=stderr, width=None if target.isatty() else piped_width(), emoji=False)


def piped_width() -> int:
    """Columns of a file or a pipe: what the variable COLUMNS says, else :data:`WIDE`."""
    text = os.environ.get("COLUMNS", "")
    return max(NARROW, int(text)) if text.isdecimal() and len(text) < 6 else WIDE


def fitted(table: Any, screen: Any) -> Any:
    """The table as it fits a rich console: no word loses a character or is broken; where its words are too wide, turned.

    A turned table has a section for each row and in it a line for each cell that is not empty.
    """
    from rich.measure import Measurement
    from rich.table import Table

    # Measured on a wide screen: on a narrow one rich squeezes the measure too.
    wide = screen.options.update(width=10_000)
    cells = [(column.header, *column.cells) for column in table.columns]
    sizes = [[Measurement.get(screen, wide, cell) for cell in column] for column in cells]
    least, whole = ([max(getattr(size, end) for size in of) for of in sizes] for end in ("minimum", "maximum"))
    # Three columns of a line and its padding for each column, and the last line.
    room = screen.width - 3 * len(cells) - 1 - sum(least)
    if room >= 0:
        missing = sum(whole) - sum(least)
        for column, low, high in zip(table.columns, least, whole, strict=True):
            column.width = high if missing <= room else low + (high - low) * room // missing
            column.overflow, column.no_wrap = "fold", False
        return table
    turned = Table(title=table.title, title_justify=table.title_justify, caption=table.caption, show_header=False)
    turned.add_column(overflow="fold")
    turned.add_column(overflow="fold")
    for row in zip(*(column.cells for column in table.columns), strict=True):
        told = [(column.header, cell) for column, cell in zip(table.columns, row, strict=True) if cell != ""]
        for header, cell in told:
            turned.add_row(header, cell)
        if told:
            turned.add_section()
    return turned


def run_program(program: Callable[[], int | None]) -> NoReturn:
    """Run a program and exit: an input error is one message and exit code 2, Ctrl-C is 130, a reader that went away is 0."""
    _open_streams()
    signal.signal(signal.SIGINT, _interrupted)
    code, message = FAILED, ""
    try:
        code = program() or DONE
        sys.stdout.flush()
    except InputError as error:
        code, message = NOTHING_FEASIBLE if isinstance(error, NothingFeasible) else WRONG_INPUT, str(error)
    except KeyboardInterrupt:
        code, message = STOPPED, "stopped"
    except BrokenPipeError:
        code = DONE
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else FAILED if error.code else DONE
    except MemoryError:
        code, message = WRONG_INPUT, "dse: the memory of this machine does not suffice for this input"
    except OSError as error:
        if error.filename is not None or error.errno not in _NO_OUTPUT:
            raise
        code, message = WRONG_INPUT, f"standard output: cannot be written: {error.strerror}"
    if message:
        with suppress(OSError):
            say(message, error=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # Python would flush once more at its end, and complain.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _open_streams() -> None:
    """Give closed standard streams somewhere to go, and let no encoding fail."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            handle = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _interrupted(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C is KeyboardInterrupt, but for a moment when modules are being imported: some catch it, and nothing is open."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt
