"""Data to train on: folders of MNIST-style idx files, CIFAR's binary files, and scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.accuracy.measuring.data import idx_in, read_array
from dse.array_files import MAX_ARRAY_BYTES
from dse.errors import InputError
from dse.files import is_file, is_folder, read_bytes
from dse.numbers import SAMPLES
from dse.types import Floats, Ints

#: Bytes of a picture in CIFAR's binary files: three planes of 32x32 (Krizhevsky, Learning Multiple Layers of Features, 2009).
_CIFAR = 3 * 32 * 32
#: Share of scikit-learn's digits that are trained on, and the seed of the split.
_DIGITS_TRAINED, _DIGITS_SEED = 0.8, 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures and labels, in a part to train on and a part to test on.

    Attributes
    ----------
    name, source
        Short name; where the data came from.
    images, labels
        To train on: (n, channels, height, width) with the mean and deviation of each channel taken out; (n,).
    test_images, test_labels
        To test on, normalized with the same mean and deviation.
    classes
        Number of classes.
    """

    name: str
    source: str
    images: NDArray[np.float32]
    labels: Ints
    test_images: NDArray[np.float32]
    test_labels: Ints
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a sample."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


def load_dataset(data: str | Path, samples: int | None = None, test_samples: int | None = None) -> Dataset:
    """Data to train on.

    Parameters
    ----------
    data
        ``digits`` (scikit-learn's, 8x8), a folder of four idx files (``train-images-idx3-ubyte``, ..., gzip or not), or a folder
        of CIFAR-10's or CIFAR-100's binary files.
    samples, test_samples
        Take that many, evenly spaced over the files; None: all.

    Raises
    ------
    InputError
        No data of these kinds, files cut short, labels that do not match.
    """
    for count in (samples, test_samples):
        SAMPLES.check(count)
    if str(data) == "digits":
        name, source, parts = (
            "digits",
            "scikit-learn's digits (1,797 pictures of 8x8; Alpaydin and Kaynak, UCI)",
            _digits(),
        )
    else:
        folder = Path(data)
        if not is_folder(folder):
            raise InputError(str(data), ["expected 'digits' or a folder of idx or CIFAR binary files"])
        name = folder.name
        if is_file(folder / "test_batch.bin") or is_file(folder / "test.bin"):
            source, parts = f"CIFAR binary files of {name}", _cifar(folder)
        else:
            source, parts = f"idx files of {name}", _idx(folder)
    (images, labels), (test_images, test_labels) = _some(parts[0], samples, data), _some(parts[1], test_samples, data)
    mean, deviation = images.mean(axis=(0, 2, 3), keepdims=True), images.std(axis=(0, 2, 3), keepdims=True)
    deviation = np.where(deviation > 0.0, deviation, 1.0)
    return Dataset(
        name=name,
        source=source,
        images=((images - mean) / deviation).astype(np.float32),
        labels=labels,
        test_images=((test_images - mean) / deviation).astype(np.float32),
        test_labels=test_labels,
        classes=int(max(labels.max(), test_labels.max())) + 1,
    )


Part = tuple[Floats, Ints]


def _some(part: Part, count: int | None, data: str | Path) -> Part:
    images, labels = part
    if len(images) != len(labels):
        raise InputError(str(data), [f"has {len(images)} pictures and {len(labels)} labels; expected as many of both"])
    if count is None or count >= len(images):
        return part
    if count < 1:
        raise InputError(str(data), [f"expected at least one picture, asked for {count}"])
    chosen = np.linspace(0, len(images) - 1, count).round().astype(int)
    return images[chosen], labels[chosen]


def _idx(folder: Path) -> tuple[Part, Part]:
    found, missing = [], []
    for prefixes, what in ((("train",), "train"), (("t10k", "test"), "t10k")):
        for kind in ("images-idx3", "labels-idx1"):
            path = idx_in(folder, kind, prefixes)
            if path is None:
                missing.append(f"holds no {what}-{kind}-ubyte")
            else:
                found.append(read_array(path))
    if missing:
        raise InputError(str(folder), missing)
    if problems := [
        f"expected pictures (n, height, width), got shape {list(a.shape)}" for a in found[::2] if a.ndim != 3
    ]:
        raise InputError(str(folder), problems)
    train, train_labels, test, test_labels = found
    return (
        (train[:, None] / 255.0, train_labels.astype(np.int64).ravel()),
        (test[:, None] / 255.0, test_labels.astype(np.int64).ravel()),
    )


def _cifar(folder: Path) -> tuple[Part, Part]:
    """CIFAR-10: one label byte, then the picture; CIFAR-100: a coarse label, a fine label (taken), the picture."""
    fine = is_file(folder / "test.bin")
    training = [folder / "train.bin"] if fine else sorted(folder.glob("data_batch_*.bin"))
    if not training or not is_file(training[0]):
        raise InputError(str(folder), ["holds CIFAR's test file, but none to train on"])
    head = 2 if fine else 1

    def read(path: Path) -> Part:
        data = np.frombuffer(read_bytes(path, MAX_ARRAY_BYTES, "a CIFAR binary file"), dtype=np.uint8)
        if not data.size or data.size % (head + _CIFAR):
            raise InputError(str(path), [f"is cut short: expected whole records of {head + _CIFAR} bytes"])
        rows = data.reshape(-1, head + _CIFAR)
        return rows[:, head:].reshape(-1, 3, 32, 32) / 255.0, rows[:, head - 1].astype(np.int64)

    parts = [read(path) for path in training]
    train = np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])
    return train, read(folder / ("test.bin" if fine else "test_batch.bin"))


def _digits() -> tuple[Part, Part]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "digits", ["needs scikit-learn; pip install 'lowprec-dse[torch]', or give a folder of data"]
        ) from None
    found = load_digits()
    images, labels = found.images[:, None] / 16.0, found.target.astype(np.int64)
    order = np.random.default_rng(_DIGITS_SEED).permutation(len(images))
    cut = int(_DIGITS_TRAINED * len(images))
    return (images[order[:cut]], labels[order[:cut]]), (images[order[cut:]], labels[order[cut:]])
