"""Images and labels for measuring: numpy files, and folders of MNIST-style idx files."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.array_files import MAX_ARRAY_BYTES, read_arrays, unzipped
from dse.errors import InputError
from dse.files import is_folder, read_bytes, reason
from dse.types import Ints

#: Element types of the idx format (LeCun, Cortes and Burges, The MNIST database), big-endian.
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_data(
    path: str | Path, labels_path: str | Path | None = None, limit: int | None = None
) -> tuple[NDArray[np.float32], Ints | None]:
    """Images as a model takes them, and their labels if there are any.

    ``.npz``: ``images`` (n, ...) and optionally ``labels`` (n,). ``.npy``: images. A folder or an ``.idx?-ubyte`` file
    (gzip or not): the test part if there is one, else the training part; bytes become one channel of values from 0 to 1.

    Parameters
    ----------
    labels_path
        ``.npy`` or idx file of labels; replaces those of ``path``.
    limit
        Take that many images, evenly spaced; None: all.

    Raises
    ------
    InputError
        No such file, no data of these kinds, no images, or labels that do not match the images.
    """
    source = Path(path)
    images, labels = _read(source)
    if labels_path is not None:
        labels = read_array(Path(labels_path))
    if images.dtype.kind not in "fiub":
        raise InputError(str(path), [f"expected images that are numbers, got elements of type {images.dtype}"])
    if images.ndim < 2 or not images.size:
        raise InputError(str(path), [f"expected images of shape (n, ...), got shape {list(images.shape)}"])
    if labels is not None:
        where = str(labels_path or path)
        if labels.shape != (len(images),):
            raise InputError(
                where, [f"expected a label for each of the {len(images)} images, got shape {list(labels.shape)}"]
            )
        if not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
            raise InputError(where, ["expected labels that are integers >= 0"])
    if limit is not None and limit < len(images):
        chosen = np.linspace(0, len(images) - 1, limit).round().astype(int)
        images, labels = images[chosen], None if labels is None else labels[chosen]
    return images.astype(np.float32), None if labels is None else labels.astype(np.int64)


def _read(source: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if is_folder(source):
        images, labels = (_test_or_train(source, kind) for kind in ("images-idx3", "labels-idx1"))
        if images is None:
            raise InputError(str(source), ["holds no idx file of images, such as t10k-images-idx3-ubyte.gz"])
        return _bytes_as_channel(read_array(images)), None if labels is None else read_array(labels)
    if source.suffix != ".npz":
        return _bytes_as_channel(read_array(source)), None
    file = read_arrays(source)
    if "images" not in file:
        raise InputError(str(source), [f"has no array 'images'; it holds {', '.join(sorted(file)) or 'nothing'}"])
    return file["images"], file.get("labels")


def idx_in(folder: Path, kind: str, prefixes: tuple[str, ...] = ("",)) -> Path | None:
    """The idx file of a kind (``images-idx3``, ``labels-idx1``) in a folder whose name starts with one of the prefixes."""
    try:
        found = sorted(path for path in folder.iterdir() if kind in path.name.replace(".", "-"))
    except OSError as error:
        raise InputError(str(folder), [f"cannot be read: {reason(error)}"]) from None
    return next((path for path in found if path.name.startswith(prefixes)), None)


def _test_or_train(folder: Path, kind: str) -> Path | None:
    return idx_in(folder, kind, ("t10k", "test")) or idx_in(folder, kind)


def _bytes_as_channel(images: NDArray[Any]) -> NDArray[Any]:
    """Pictures of bytes without a channel: one channel of values from 0 to 1."""
    return images[:, None] / np.float32(255.0) if images.ndim == 3 and images.dtype.itemsize == 1 else images


def read_array(source: Path) -> NDArray[Any]:
    """The array of an ``.npy`` or an idx file."""
    if source.suffix != ".npy":
        return _idx(source)
    found = read_arrays(source)
    if "array" not in found:
        raise InputError(str(source), ["is an .npz file of several arrays; expected one array (.npy)"])
    return found["array"]


def _idx(source: Path) -> NDArray[Any]:
    """One idx file: two zero bytes, element type, number of dimensions, sizes as big-endian 32-bit integers, elements."""
    data = unzipped(read_bytes(source, MAX_ARRAY_BYTES, "an idx file"), source)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise InputError(str(source), ["is neither a numpy file (.npy, .npz) nor an idx file"])
    start = 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start]) if len(data) >= start else ()
    kind = np.dtype(_IDX_TYPES[data[2]])
    if len(data) - start != prod(shape) * kind.itemsize or not shape:
        raise InputError(str(source), [f"is cut short: expected {prod(shape):,} elements of shape {list(shape)}"])
    return np.frombuffer(data, dtype=kind, offset=start).reshape(shape)
