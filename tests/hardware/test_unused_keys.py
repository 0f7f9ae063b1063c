"""A key of a hardware file that means nothing for its element or memory is an error with its line."""

import pytest

from dse.errors import InputError
from dse.hardware.from_file.load import hardware_from_document
from dse.yaml_input import parse_yaml


@pytest.mark.parametrize(
    ("old", "new", "key", "owner"),
    [
        ("kind: dram,", "kind: dram, port_bits: 64,", "memories.dram.port_bits", "a dram memory does not use this key"),
        ("kind: sram,", "kind: sram, dram: lpddr4,", "memories.buffer.dram", "a sram memory does not use this key"),
        ("kind: sram,", "kind: sram, wire_mm: 1, wire_pj_per_bit: 0.1,", "memories.buffer.wire_mm", "means nothing beside wire_pj_per_bit"),
        ("family: fixed,", "family: fixed, serial_operand: weight,", "pe.serial_operand", "a fixed element does not use this key"),
        ("family: fixed,", "family: fixed, significand_bits: 0,", "pe.significand_bits", "a fixed element does not use this key"),
    ],
)  # fmt: skip
def test_keys_that_a_section_of_hardware_does_not_use(old, new, key, owner):
    text = """name: plain
description: a plain array
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 8, forward: [C], backward_data: [K], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  buffer: {source: made up, kind: sram, size_bits: 1_048_576, bandwidth_bits_per_cycle: 2048}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 128}
"""
    hardware_from_document(parse_yaml(text, "hw.yaml"))
    with pytest.raises(InputError) as caught:
        hardware_from_document(parse_yaml(text.replace(old, new), "hw.yaml"))
    assert f"{key} (line " in str(caught.value)
    assert owner in str(caught.value)
