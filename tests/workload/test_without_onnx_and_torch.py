"""Optional libraries that are not installed are one sentence that names the extra."""

import sys

import pytest

import dse
from dse.errors import InputError
from dse.workload.from_onnx.network import import_onnx


def test_import_names_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'lowprec-dse\[onnx\]'"):
        import_onnx(tmp_path / "m.onnx")


def test_trace_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'lowprec-dse\[torch\]'"):
        dse.trace(None, None)
