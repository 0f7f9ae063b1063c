"""Files are written beside their place and moved there: a reader, or a program that was killed, sees the old one or the new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dse.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with line ends as given; what UTF-8 cannot hold becomes a question mark.

    Raises
    ------
    InputError
        The folder cannot be written, or the disk is full; the old file is untouched.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises
    ------
    InputError
        The folder cannot be written, or the disk is full; the old file is untouched.
    """
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise InputError(str(path), [f"cannot be written: {error.strerror}"]) from None
