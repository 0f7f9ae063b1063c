"""What a user sees who has not installed the extra."""

import sys

import pytest

from dse.accuracy.measuring.onnx_model import open_onnx
from dse.errors import InputError


def test_missing_library_names_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a model")
    with pytest.raises(InputError, match=r"is not installed; ONNX models need the extra: pip install 'lowprec-dse\[onnx\]'"):
        open_onnx(str(path))
