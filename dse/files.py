"""The one door for files.

In: what a user names is looked at before it is read. A folder, a pipe, a socket or a device is refused, a size is refused
before it is read, and a file that claims no size (those of ``/proc``) is read up to a bound. Out: a file is written beside its
place and moved there, so that a reader, a full disk or a kill finds the old file or the new one; several files of one command
are all written or none.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from dse.errors import InputError, printable

#: Largest text that is read, bytes: YAML, CSV and JSON of people and of run folders.
MAX_TEXT_BYTES = 20_000_000
#: What is read at most of a file that claims to be empty, bytes.
MAX_UNSIZED_BYTES = 1_000_000
#: End of the names of files that are being written; :func:`remove_halves` removes what a kill has left of them.
HALF = ".dse-half"

_KINDS = {
    stat.S_IFDIR: "is a folder",
    stat.S_IFIFO: "is a pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


def is_file(path: str | Path) -> bool:
    """Whether a plain file is there; a name that no file can have is no file."""
    return os.path.isfile(path)


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there; a name that no folder can have is no folder."""
    return os.path.isdir(path)


def reason(error: OSError | ValueError) -> str:
    """Why the system refused a path, in words."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return "no file can have this name"


def why_not_read(path: str | Path, expected: str = "a file") -> str:
    """Why a path cannot be read as a plain file; "" where nothing speaks against it."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be read: {reason(error)}"
    kind = _KINDS.get(stat.S_IFMT(mode), "" if stat.S_ISREG(mode) else "is no plain file")
    return f"{kind}; expected {expected}" if kind else ""


def read_bytes(path: str | Path, most_bytes: int = MAX_TEXT_BYTES, expected: str = "a file") -> bytes:
    """The content of a file that a user names.

    Parameters
    ----------
    most_bytes
        A larger file is refused before it is read.
    expected
        What the file should be, for the message, such as "a YAML file".

    Raises
    ------
    InputError
        No such file, no plain file, too large, or it may not be read.
    """
    why = why_not_read(path, expected)
    if why:
        raise InputError(str(path), [why])
    try:
        # What stands there may change between the look and the opening: no waiting for a writer of a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb", buffering=0) as stream:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise InputError(str(path), [f"is no plain file; expected {expected}"])
            most = most_bytes if state.st_size else min(most_bytes, MAX_UNSIZED_BYTES)
            if state.st_size > most:
                raise InputError(str(path), [_too_large(most, expected)])
            content = _all_of(stream, most + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), [f"cannot be read: {reason(error)}"]) from None
    except MemoryError:
        raise InputError(str(path), ["does not fit into the memory of this machine"]) from None
    if len(content) > most:
        raise InputError(str(path), [_too_large(most, expected)])
    return content


def _all_of(stream: Any, most: int) -> bytes:
    parts, count = [], 0
    while count < most:
        part = stream.read(min(most - count, 1 << 24))
        if not part:
            break
        parts.append(part)
        count += len(part)
    return b"".join(parts)


def _too_large(most: int, expected: str) -> str:
    size = f"{most / 1e9:g} GB" if most >= 10**9 else f"{most / 1e6:g} MB"
    return f"the file is larger than {size}; expected {expected} of at most that"


def read_text(path: str | Path, expected: str = "a text file", most_bytes: int = MAX_TEXT_BYTES) -> str:
    """The content of a UTF-8 text file that a user names, without a byte order mark; see :func:`read_bytes`.

    Raises
    ------
    InputError
        As :func:`read_bytes`, or it is no UTF-8 text.
    """
    try:
        return read_bytes(path, most_bytes, expected).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(str(path), [f"is not UTF-8 text; expected {expected}"]) from None


def read_json(path: str | Path, most_bytes: int = MAX_TEXT_BYTES) -> Any:
    """The value of a JSON file, with finite numbers.

    Raises
    ------
    InputError
        As :func:`read_text`, or it is no JSON, or has a number that is not finite.
    """
    text = read_text(path, "a JSON file", most_bytes)
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise InputError(str(path), ["is no JSON of this program: nested too deeply"]) from None
    except ValueError as error:
        raise InputError(str(path), [f"is no JSON that can be read: {error}"]) from None


def _no_number(text: str) -> float:
    raise ValueError(f"expected finite numbers, got {text}")


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) != float("inf") else _no_number(text)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with line ends as given; what UTF-8 cannot hold becomes a question mark.

    Raises
    ------
    InputError
        The folder cannot be written, or the disk is full; the old file is untouched.
    """
    write_files({path: text})


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises
    ------
    InputError
        The folder cannot be written, or the disk is full; the old file is untouched.
    """
    write_files({path: content})


def write_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write several files, all or none: each beside its place, and only when all are whole they are moved there.

    Raises
    ------
    InputError
        A folder cannot be written, a place is taken by what is no plain file, or the disk is full; the old files are untouched.
    """
    halves: list[tuple[Path, str, str]] = []
    try:
        for path, content in contents.items():
            # What a link points to is written, and the link stays.
            place = os.path.realpath(path)
            why = why_not_written(path)
            if why:
                raise InputError(str(path), [why])
            half = os.path.join(os.path.dirname(place), f".{os.getpid()}-{os.urandom(4).hex()}{HALF}")
            halves.append((path, half, place))
            data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
            _written(half, data, place)
        for target, half, place in halves:
            path = target
            os.replace(half, place)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), [f"cannot be written: {reason(error)}"]) from None
    finally:
        for _, half, _ in halves:
            with suppress(OSError):
                os.unlink(half)


def _written(half: str, data: bytes, place: str) -> None:
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with open(handle, "wb") as stream:
        stream.write(data)
    with suppress(FileNotFoundError):
        os.chmod(half, stat.S_IMODE(os.stat(place).st_mode))


def why_not_written(path: str | Path) -> str:
    """Why a file cannot be written at a path, before anything is computed for it; "" where nothing speaks against it."""
    try:
        place = os.path.realpath(path)
        folder = os.path.dirname(place)
        if not os.path.isdir(folder):
            # The system's own words: it is missing, no folder, or may not be entered.
            os.listdir(folder)
        if os.path.lexists(place):
            mode = os.stat(place).st_mode
            if not stat.S_ISREG(mode):
                kind = _KINDS.get(stat.S_IFMT(mode), "is no plain file")
                return f"cannot be written: it {kind}; give the name of a file"
        elif len(os.fsencode(os.path.basename(place))) > 255:
            return f"cannot be written: {os.strerror(errno.ENAMETOOLONG)}"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"cannot be written: {os.strerror(errno.EACCES)}"
    except (OSError, ValueError) as error:
        return f"cannot be written: {reason(error)}"
    return ""


def make_folder(path: str | Path) -> list[Path]:
    """Make a folder and those above it.

    Returns
    -------
    list of Path
        The folders that were not there, the innermost first: :func:`remove_folders` takes them back.

    Raises
    ------
    InputError
        It cannot be made.
    """
    made: list[Path] = []
    missing: list[Path] = []
    try:
        here = Path(path)
        while not os.path.isdir(here):
            missing.append(here)
            if here.parent == here:
                break
            here = here.parent
        for folder in reversed(missing):
            if os.path.lexists(folder) and not os.path.isdir(folder):
                raise InputError(str(path), [f"cannot be written: {folder} is no folder"])
            folder.mkdir(exist_ok=True)
            made.insert(0, folder)
    except (OSError, ValueError) as error:
        remove_folders(made)
        if isinstance(error, InputError):
            raise
        raise InputError(str(path), [f"cannot be written: {reason(error)}"]) from None
    return made


def remove_folders(folders: list[Path]) -> None:
    """Take back folders that :func:`make_folder` made, those that are still empty, the innermost first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def remove_file(path: str | Path) -> None:
    """Remove a file if it is there.

    Raises
    ------
    InputError
        It cannot be removed: a folder stands there, or the folder around it may not be written.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(str(path), [f"cannot be removed: {reason(error)}"]) from None


def remove_halves(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    for name in os.listdir(folder):
        if name.endswith(HALF):
            with suppress(OSError):
                os.unlink(folder / name)


def require_no_folder(path: Path | None) -> None:
    """Raise InputError where what ``--out`` names is there already; None: nothing is written."""
    if path is not None and path.exists():
        raise InputError("--out", [f"{path} exists already; give a new folder"])


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder for what a block writes; if the block fails, the folders made for it are taken back unless they hold something.

    Raises
    ------
    InputError
        It cannot be made, or no file can be made in it.
    """
    made = make_folder(path)
    try:
        why = why_not_written(Path(path) / f"{HALF}")
        if why:
            raise InputError(str(path), [why])
        yield Path(path)
    except BaseException:
        remove_folders(made)
        raise


def write_all(files: Mapping[Path, str | bytes]) -> tuple[Path, ...]:
    """As :func:`write_files`, with the folders that the files need, which are taken back if it fails.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    InputError
        One of them cannot be written; nothing is.
    """
    with ExitStack() as folders:
        for place in dict.fromkeys(path.parent for path in files):
            folders.enter_context(new_folder(place))
        write_files(files)
    return tuple(files)


#: What a spreadsheet takes for a formula, and the mark that makes it text; a cell that begins with the mark gets a second one.
_FORMULA, _MARK = ("=", "+", "-", "@", "\t", "'"), "'"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table for spreadsheets: numbers in the shortest form that reads back, and no word that is run as a formula.

    >>> print(csv_text(["name", "bits"], [["=1+1", -8], ["a,b", 0.5]]), end="")
    name,bits
    '=1+1,-8
    "a,b",0.5
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return stream.getvalue()


def _cell(text: str) -> str:
    text = printable(text, keep="\n\t")
    return f"{_MARK}{text}" if text.startswith(_FORMULA) else text


def plain_cell(text: str) -> str:
    """The word that stands in a cell of :func:`csv_text`.

    >>> plain_cell("'=1+1"), plain_cell("''a"), plain_cell("a")
    ('=1+1', "'a", 'a')
    """
    return text[1:] if text.startswith(tuple(_MARK + first for first in _FORMULA)) else text
