"""Data to train on: idx folders, CIFAR binaries and digits, and what is wrong with them."""

import gzip
import struct

import numpy as np
import pytest

from dse.errors import InputError
from dse.training.loops.data import load_dataset


def write_idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def fashion(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 8)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 12, 12)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", random.integers(0, 10, count))
    return tmp_path


def test_idx_folder(fashion):
    data = load_dataset(fashion)
    assert data.images.shape == (20, 1, 12, 12)
    assert data.test_images.shape == (8, 1, 12, 12)
    assert data.shape == (1, 12, 12)
    assert data.images.mean() == pytest.approx(0.0, abs=1e-6)
    assert data.images.std() == pytest.approx(1.0, abs=1e-5)
    assert load_dataset(fashion, 5).labels.tolist() == data.labels[[0, 5, 10, 14, 19]].tolist()


def test_cifar_binaries(tmp_path):
    random = np.random.default_rng(1)
    for folder, head, files in (
        ("ten", 1, ("data_batch_1", "data_batch_2", "test_batch")),
        ("hundred", 2, ("train", "test")),
    ):
        (tmp_path / folder).mkdir()
        for name in files:
            rows = random.integers(0, 256, (6, head + 3072), dtype=np.uint8)
            rows[:, :head] = np.arange(6)[:, None] + 10 * np.arange(head)
            rows.tofile(tmp_path / folder / f"{name}.bin")
    ten, hundred = load_dataset(tmp_path / "ten"), load_dataset(tmp_path / "hundred")
    assert ten.images.shape == (12, 3, 32, 32)
    assert ten.test_labels.tolist() == list(range(6))
    assert hundred.labels.tolist() == [10, 11, 12, 13, 14, 15]  # the fine label


def test_digits():
    pytest.importorskip("sklearn")
    data = load_dataset("digits")
    assert (len(data.labels), len(data.test_labels), data.shape, data.classes) == (1437, 360, (1, 8, 8), 10)


def test_what_is_wrong(fashion, tmp_path):
    write_idx(fashion / "t10k-labels-idx1-ubyte", np.zeros(7))
    with pytest.raises(InputError, match="8 pictures and 7 labels"):
        load_dataset(fashion)
    (fashion / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="holds no train-labels"):
        load_dataset(fashion)
    with pytest.raises(InputError, match="expected 'digits' or a folder"):
        load_dataset(tmp_path / "nowhere")
    (tmp_path / "cifar").mkdir()
    (tmp_path / "cifar" / "test_batch.bin").write_bytes(b"\0" * 100)
    (tmp_path / "cifar" / "data_batch_1.bin").write_bytes(b"\0" * 3073)
    with pytest.raises(InputError, match="cut short"):
        load_dataset(tmp_path / "cifar")
