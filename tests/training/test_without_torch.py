"""Without the extra, the command says which one it needs; tables of runs are read without it."""

import importlib.util
import subprocess
import sys

import pytest

import dse
import dse.training
from dse.errors import InputError
from dse.training import require_torch
from dse.training.records import Width, mean_bits, measured_schedule, read_widths, table, trace_text
from dse.workload import load_workload


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'lowprec-dse\[torch\]'"):
        require_torch()


def test_tables_need_no_torch():
    code = "import sys, dse.training.records, dse.training.loops.data; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def rows(network, *changes):
    """All layers at int8 from the start, then the changes."""
    start = [
        Width(0, layer.name, op, "int8", 1.0)
        for layer in network.mac_layers
        for op in ("weight", "activation", "error")
    ]
    return (*start, *changes)


@pytest.fixture(scope="module")
def network():
    return load_workload("fashion_cnn")


def test_a_table_of_formats_comes_back(network, tmp_path):
    widths = rows(network, Width(10, "conv2", "weight", "bfp4", 0.75), Width(10, "conv2", "weight", "bfp8", 0.25))
    (tmp_path / "formats.csv").write_text(table(widths, Width))
    assert read_widths(tmp_path / "formats.csv") == widths
    schedule = measured_schedule(widths, network, 40, "run")
    (first, before), (second, after) = schedule.plans(network)
    assert (before, after) == (10, 30)
    assert not first.is_blockwise
    formats, shares = second.choices("weight")
    row = dict(zip((form.name for form in formats), shares[second.layers.index("conv2")], strict=True))
    assert (row["bfp4"], row["bfp8"]) == (0.75, 0.25)
    assert second.widths("activation").max() == 8


def test_mean_bits_weigh_by_iterations_and_blocks(network):
    widths = rows(network, Width(10, "conv2", "weight", "bfp4", 0.75), Width(10, "conv2", "weight", "bfp8", 0.25))
    layers = len(network.mac_layers)
    assert mean_bits(widths, 40)["weight"] == pytest.approx(8 - 3 * (30 / 40) / layers)
    assert mean_bits(widths, 40)["error"] == 8


def test_functions_that_need_torch_say_so_when_they_are_called(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(dse.training, "find_spec", lambda name: None)
    for name in ("prepare", "sensitivity"):
        with pytest.raises(InputError, match=rf"dse.{name}: trains with PyTorch; pip install 'lowprec-dse\[torch\]'"):
            getattr(dse, name)(None, None, "w8a8")


def test_a_trace_is_of_operands_with_one_format_per_layer(network):
    widths = rows(network, Width(10, "conv2", "error", "int5", 1.0), Width(20, "fc", "weight", "bfp4", 0.5))
    assert trace_text(widths, "weight") is None
    lines = trace_text(widths, "error").splitlines()
    assert lines[0] == "batch_iteration,conv1,conv2,conv3,conv4,conv5,fc"
    assert lines[1:] == ["0,8,8,8,8,8,8", "10,8,5,8,8,8,8"]


def test_wrong_tables(network, tmp_path):
    path = tmp_path / "formats.csv"
    path.write_text("iteration,layer\n")
    with pytest.raises(InputError, match="expected the columns iteration, layer, operand, format, share"):
        read_widths(path)
    path.write_text("iteration,layer,operand,format,share\n0,conv1,weight,int3.5,1\nx,conv1,weight,int8,1\n")
    with pytest.raises(InputError) as told:
        read_widths(path)
    assert "(line 2)" in str(told.value)
    assert "line 3:" in str(told.value)
    with pytest.raises(InputError, match="no such file"):
        read_widths(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="from iteration 0 on"):
        measured_schedule([Width(3, "conv1", "weight", "int8", 1.0)], network, 10, "run")
