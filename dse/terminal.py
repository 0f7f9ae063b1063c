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
#: Columns of tables that go into a file or a pipe.
WIDE = 160


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print a text, control characters but line ends and tabs written out."""
    print(printable(text, keep="\n\t"), end=end, file=sys.stderr if error else sys.stdout)


def console(stderr: bool = False) -> Any:
    """A rich console on a standard stream that shows foreign text safely."""
    from rich.console import Console

    class SafeConsole(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(printable(text, keep="\n\t"), **options)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    target = sys.stderr if stderr else sys.stdout
    return SafeConsole(stderr=stderr, width=None if target.isatty() else WIDE, emoji=False)


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
