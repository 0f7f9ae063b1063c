"""Files of numpy arrays, damaged or made to harm perhaps: a size is checked against what is there before anything is read."""

from __future__ import annotations

import gzip
import io
import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dse.errors import InputError
from dse.files import read_bytes

#: Largest file and largest sum of arrays that are read, bytes: a hundred thousand pictures of 224 x 224 as bytes.
MAX_ARRAY_BYTES = 16_000_000_000
#: Arrays in a file.
MAX_ARRAYS = 256

_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error, struct.error,
            NotImplementedError, RuntimeError, SyntaxError, RecursionError, tokenize.TokenError)  # fmt: skip


def read_arrays(path: str | Path, most_bytes: int = MAX_ARRAY_BYTES) -> dict[str, NDArray[np.generic]]:
    """Arrays of an ``.npz`` file by name; that of an ``.npy`` file is called ``array``. Pickled objects are refused.

    Raises
    ------
    InputError
        As :func:`dse.files.read_bytes`; no numpy file, damaged, or arrays that are larger than the file says or than allowed.
    """
    content = read_bytes(path, most_bytes, "a numpy file")
    try:
        return arrays_in(content, most_bytes)
    except MemoryError:
        raise InputError(str(path), ["does not fit into the memory of this machine"]) from None
    except _DAMAGED as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(str(path), [f"is no numpy file that can be read{detail and f' ({detail})'}"]) from None


def arrays_in(content: bytes, most_bytes: int) -> dict[str, NDArray[np.generic]]:
    """As :func:`read_arrays`, of bytes; what is wrong with them raises whatever numpy and zipfile raise."""
    if content[: len(npy.MAGIC_PREFIX)] == npy.MAGIC_PREFIX:
        return {"array": _array(content)}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > most_bytes:
            raise ValueError("it holds more than is read of a file")
        # Reading a member ends at its size and checks its checksum.
        return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}


def _array(content: bytes) -> NDArray[np.generic]:
    stream = io.BytesIO(content)
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read_header(stream)
    if kind.hasobject:
        raise ValueError("pickled objects are not read")
    if any(size < 0 for size in shape) or prod(shape) * kind.itemsize != len(content) - stream.tell():
        raise ValueError(f"cut short: its shape is {shape}")
    return npy.read_array(io.BytesIO(content), allow_pickle=False)


def unzipped(content: bytes, path: str | Path, most_bytes: int = MAX_ARRAY_BYTES) -> bytes:
    """The content of a gzip file, or the bytes as they are if they are none.

    Raises
    ------
    InputError
        Damaged, or larger than allowed once it is unpacked.
    """
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            data = stream.read(most_bytes + 1)
    except MemoryError:
        raise InputError(str(path), ["does not fit into the memory of this machine"]) from None
    except (OSError, EOFError, zlib.error, struct.error):
        raise InputError(str(path), ["is no gzip file that can be read"]) from None
    if len(data) > most_bytes:
        raise InputError(str(path), [f"is larger than {most_bytes / 1e9:g} GB once it is unpacked"])
    return data
