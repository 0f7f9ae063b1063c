"""Accelerators of other programs as hardware files: own small files, our own exports read back, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import dse
from dse.errors import InputError
from dse.export.zigzag import accelerator as exported_accelerator
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.from_file.peers import import_hardware

ZIGZAG = """
name: two_levels
memories:
  sums: {size: 24, r_cost: 0.024, w_cost: 0.048, operands: [O], served_dimensions: [D2],
         ports: [{name: r, type: read, bandwidth_max: 24}, {name: w, type: write, bandwidth_max: 24}]}
  buffer:
    size: 65536
    r_cost: 12.8
    w_cost: 25.6
    operands: [I1, I2, O]
    ports:
      - {name: rw, type: read_write, bandwidth_max: 128}
    served_dimensions: [D1, D2]
  memory: {size: 10000000000, r_cost: 640, w_cost: 1280, operands: [I1, I2, O], served_dimensions: [D1, D2],
           ports: [{name: rw, type: read_write, bandwidth_max: 64}]}
operational_array: {unit_energy: 0.5, unit_area: 1, dimensions: [D1, D2], sizes: [8, 12]}
"""
MAPPING = """
- name: default
  spatial_mapping: {D1: ["K, 8"], D2: ["C, 4", "FX, 3"]}
  memory_operand_links: {O: O, W: I2, I: I1}
"""
TIMELOOP = """
architecture:
  version: 0.4
  nodes:
  - !Container {name: system, attributes: {technology: 28nm, global_cycle_seconds: 2e-9}}
  - !Component {name: main, class: DRAM, attributes: {type: LPDDR4, width: 64, datawidth: 8}}
  - !Component
    name: shared
    class: SRAM
    attributes: {depth: 1024, width: 128, datawidth: 8, read_bandwidth: 16, write_bandwidth: 8}
    constraints: {dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}}
  - !Container
    name: grid
    spatial: {meshX: 4, meshY: 6}
    constraints: {spatial: {permutation: [M, C], split: 1, factors: [N=1, P=1, Q=1, R=1, S=1, G=1]}}
  - !Parallel
    nodes:
    - !Component
      {name: weights, class: regfile, attributes: {depth: 4, width: 8, datawidth: 8}, constraints: {dataspace: {keep: [Weights]}}}
    - !Component
      {name: sums, class: regfile, attributes: {depth: 2, width: 24, datawidth: 24}, constraints: {dataspace: {keep: [Outputs]}}}
    - !Nothing {constraints: {dataspace: {keep: [Inputs]}}}
  - !Component {name: mac, class: intmac, attributes: {multiplier_width: 8, adder_width: 16}}
"""
ENERGIES = """
ERT:
  version: '0.4'
  tables:
  - {name: "top.main[1..1]", actions: [{name: read, energy: 512.0}, {name: write, energy: 640.0}]}
  - {name: "top.shared[1..1]", actions: [{name: read, energy: 12.8}, {name: write, energy: 25.6}]}
  - {name: "top.mac[1..24]", actions: [{name: compute, energy: 0.25}]}
"""


def written(folder: Path, **texts: str) -> list[Path]:
    paths = []
    for name, text in texts.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text)
    return paths


def test_zigzag_ports_prices_and_unrolling(tmp_path):
    accelerator, mapping = written(tmp_path, accelerator=ZIGZAG, mapping=MAPPING)
    found = import_hardware(accelerator, mapping, clock_hz=2e8, node_nm=28)
    hardware = found.hardware
    assert (found.program, hardware.name, hardware.clock_hz, hardware.node_nm) == ("zigzag", "two_levels", 2e8, 28)
    assert [(axis.name, axis.size, axis.dims["forward"]) for axis in hardware.axes] == [
        ("D1", 8, ("K",)),
        ("D2", 12, ("C", "S")),
    ]
    sums, buffer, memory = hardware.memories
    assert sums.shared_along == ("D2",)
    assert (sums.read_pj_per_bit, sums.write_pj_per_bit, sums.bandwidth_bits_per_cycle) == (0.001, 0.002, 48)
    assert (buffer.read_pj_per_bit, buffer.write_pj_per_bit, buffer.bandwidth_bits_per_cycle) == (0.1, 0.2, 128)
    assert (memory.kind, memory.read_pj_per_bit) == ("dram", 10)
    assert np.isinf(memory.size_bits)
    assert (hardware.pe.accumulator_bits, hardware.pe.energy_pj) == (24, 0.5)
    assert not hardware.bypass
    (accelerator,) = written(tmp_path, accelerator=ZIGZAG.replace("    size: 65536", "    force_double_buffering: True\n    size: 65536"))
    doubled = import_hardware(accelerator, mapping).hardware.memories
    assert [one.double_buffered for one in doubled] == [False, True, False]
    assert hardware.inference_only


def test_timeloop_meshes_constraints_and_energies(tmp_path):
    architecture, table = written(tmp_path, arch=TIMELOOP, ert=ENERGIES)
    found = import_hardware(architecture, energies=table)
    hardware = found.hardware
    assert (found.program, hardware.clock_hz, hardware.node_nm) == ("timeloop", 5e8, 28)
    assert {axis.name: (axis.size, axis.dims["forward"]) for axis in hardware.axes} == {
        "grid_x": (4, ("K",)),
        "grid_y": (6, ("C",)),
    }
    assert [(m.name, m.roles, m.shared_along) for m in hardware.memories] == [
        ("sums", ("accumulator",), ()),
        ("weights", ("weight",), ()),
        ("shared", ("activation", "accumulator"), ("grid_x", "grid_y")),
        ("main", ("weight", "activation", "accumulator"), ("grid_x", "grid_y")),
    ]
    assert [m.size_bits for m in hardware.memories[:3]] == [48, 32, 131072]
    shared, main = hardware.memories[2:]
    assert (shared.bandwidth_bits_per_cycle, shared.read_pj_per_bit, shared.write_pj_per_bit) == (192, 0.1, 0.2)
    assert (main.read_pj_per_bit, main.write_pj_per_bit) == (8, 10)
    assert (hardware.pe.energy_pj, hardware.pe.accumulator_bits) == (0.25, 24)
    network = dse.load_workload("cifar_resnet20")
    total = dse.evaluate(network, hardware, dse.Plan.from_bits(network, weight=8), mode="inference").total
    assert total["feasible"].all()


def test_an_exported_accelerator_comes_back(tmp_path):
    import yaml

    hardware = load_hardware("meta_prototype_like")
    arrays = hardware_arrays(hardware)

    @dataclasses.dataclass
    class Run:  # what the exporter asks of a mapped nest
        sum_bits: int = 16
        stored_bits: tuple[float, ...] = (8.0, 8.0, 8.0)
        mac_pj: float = 0.04
        nest: object = dataclasses.field(default_factory=lambda: type("Nest", (), {"dims": (1,) * 8})())

    files = exported_accelerator(hardware, arrays, [Run()])  # type: ignore[list-item]
    spatial = {f"D{n}": [f"{'KCQP'[n - 1].replace('Q', 'OX').replace('P', 'OY')}, 2"] for n in range(1, 5)}
    accelerator, mapping = written(
        tmp_path,
        accelerator=yaml.safe_dump(files, sort_keys=False),
        mapping=yaml.safe_dump([{"name": "default", "spatial_mapping": spatial}]),
    )
    back = import_hardware(accelerator, mapping, clock_hz=hardware.clock_hz, node_nm=hardware.node_nm).hardware
    again = hardware_arrays(back)
    assert [(m.name, m.roles, m.shared_along) for m in back.memories] == [
        (m.name, m.roles, m.shared_along) for m in hardware.memories
    ]
    np.testing.assert_allclose(again.read_pj_per_bit, arrays.read_pj_per_bit, rtol=1e-12)
    np.testing.assert_allclose(again.write_pj_per_bit, arrays.write_pj_per_bit, rtol=1e-12)
    np.testing.assert_array_equal(again.size_bits, arrays.size_bits)


@pytest.mark.parametrize(
    ("file", "mapping", "said"),
    [
        (ZIGZAG, None, "--mapping"),
        (ZIGZAG, MAPPING.replace("FX, 3", "Z, 3"), "no loop 'Z'"),
        (ZIGZAG, "- {name: default, spatial_mapping: {D1: ['K, 8']}}", "no loop along D2"),
        (ZIGZAG.replace("size: 65536", "size: many"), MAPPING, "memories.buffer.size: expected a number of at least 1, got many"),
        (ZIGZAG.replace("unit_area: 1", "is_imc: True"), MAPPING, "computes in memory"),
        (ZIGZAG.replace("served_dimensions: [D2]", "served_dimensions: [D7]"), MAPPING, "no dimension 'D7'"),
        (TIMELOOP.replace("[M, C]", "[K, C]"), None, "no loop 'K'; known: N, G, M"),
        (TIMELOOP.replace("split: 1", "split: some"), None, "split: expected a number of at least 0, got some"),
        (TIMELOOP.replace("class: intmac", "class: wire"), None, "no component that multiplies"),
        (TIMELOOP.replace("depth: 1024", "depth: {{ depth }}"), None, "Jinja"),
        ("a: &a [1, 2]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &c{n} [{', '.join([f'*c{n - 1}' if n else '*b'] * 9)}]\n" for n in range(9)), None, "100,000"),
        ("layers: []", None, "expected ZigZag's accelerator"),
        ("- [", None, "not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, file, mapping, said):
    paths = written(tmp_path, file=file, **({} if mapping is None else {"mapping": mapping}))
    with pytest.raises(InputError, match=said.replace("[", r"\[").replace("(", r"\(")):
        import_hardware(*paths)
