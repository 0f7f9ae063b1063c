"""Images and labels from files, and every file that is none."""

import gzip
import struct

import numpy as np
import pytest

from dse.accuracy.measuring.data import load_data
from dse.errors import InputError

PICTURES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
CLASSES = np.array([0, 1, 2, 1, 0], dtype=np.uint8)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_folder_of_idx_files_gives_the_test_part(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(PICTURES[:2]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(CLASSES[:2]))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PICTURES)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(CLASSES)))
    images, labels = load_data(tmp_path)
    assert images.dtype == np.float32
    assert images == pytest.approx(PICTURES[:, None] / 255.0)
    assert labels.tolist() == CLASSES.tolist()


def test_numpy_files(tmp_path):
    images = np.random.default_rng(0).normal(size=(6, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.arange(6))
    np.savez(tmp_path / "both.npz", images=images, labels=np.arange(6))
    assert (load_data(tmp_path / "x.npy")[0] == images).all()
    assert load_data(tmp_path / "x.npy")[1] is None
    for found, labels in (load_data(tmp_path / "both.npz"), load_data(tmp_path / "x.npy", tmp_path / "y.npy")):
        assert (found == images).all()
        assert labels.tolist() == list(range(6))
    few, labels = load_data(tmp_path / "both.npz", limit=3)
    assert labels.tolist() == [0, 2, 5]
    assert (few == images[[0, 2, 5]]).all()


def test_files_that_do_not_fit(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((6, 3, 4, 4)))
    np.save(tmp_path / "y.npy", np.zeros(5, dtype=int))
    np.save(tmp_path / "z.npy", np.zeros(6))
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "short-idx3-ubyte").write_bytes(idx(PICTURES)[:-1])
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04 and then nothing")
    (tmp_path / "empty").mkdir()
    for arguments, message in [
        (("x.npy", "y.npy"), r"y.npy: expected a label for each of the 6 images, got shape \[5\]"),
        (("x.npy", "z.npy"), "expected labels that are integers >= 0"),
        (("y.npy",), r"expected images of shape \(n, ...\), got shape \[5\]"),
        (("other.npz",), "has no array 'images'; it holds pictures"),
        (("text.npy",), "is no numpy file that can be read"),
        (("zip.npz",), "is no numpy file that can be read"),
        (("short-idx3-ubyte",), r"is cut short: expected 60 elements of shape \[5, 4, 3\]"),
        (("empty",), "holds no idx file of images"),
        (("none.npz",), "no such file"),
        (("none",), "no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            load_data(*(tmp_path / name for name in arguments))
