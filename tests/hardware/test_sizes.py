"""Sizes with their unit in hardware files: the same bits, and what is ambiguous or no size is refused with its line."""

from pathlib import Path

import pytest

from dse.errors import InputError
from dse.hardware import load_hardware

SHIPPED = Path(__file__).parents[2] / "hwmodels" / "edge_tpu_like.yaml"


def written(tmp_path, old, new):
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "chip.yaml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("text", ["32KiB", "32 KiB", "0.03125MiB", "32768B", "256Kibit", "262144bits"])
def test_a_size_is_its_bits(tmp_path, text):
    path = written(tmp_path, "size_bits: 262_144", f"size_bits: {text}")
    assert load_hardware(path).memories == load_hardware(SHIPPED).memories


def test_sizes_in_a_space(tmp_path):
    path = written(tmp_path, "size_bits: 262_144", "size_bits: {values: [16KiB, 64KiB], default: 16KiB}")
    hardware = load_hardware(path)
    assert next(memory for memory in hardware.memories if memory.name == "weight_buffer").size_bits == 131_072
    path = written(tmp_path, "size_bits: 262_144", "size_bits: {min: 16KiB, max: 1MiB, log2: true, default: 32KiB}")
    assert load_hardware(path).memories == load_hardware(SHIPPED).memories


@pytest.mark.parametrize(
    ("text", "said"),
    [("32KB", "powers of"), ("32 apples", "such as 64KiB"), ("0.3bit", "whole number"), ("0KiB", ">= 1"), ("-1KiB", "such as")],
)
def test_no_size(tmp_path, text, said):
    path = written(tmp_path, "size_bits: 262_144", f"size_bits: {text}")
    line = path.read_text()[: path.read_text().index(f"size_bits: {text}")].count("\n") + 1
    with pytest.raises(InputError) as caught:
        load_hardware(path)
    (problem,) = caught.value.problems
    assert said in problem.message
    assert problem.line == line
