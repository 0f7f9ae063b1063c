"""Peers' accelerators written as hardware files: their counts, cycles and energy for their own mappings."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import dse
from dse.cost.mapped.explicit import evaluate_mappings
from dse.mapping import TIMELOOP, parse_mapping
from dse.names import ROLES
from dse.precision import Plan

DATA = Path(__file__).parents[1] / "data"
CASES = {case["name"]: case for case in yaml.safe_load((DATA / "reference_timeloop.yaml").read_text())}
CONV = """
source: the layer of Timeloop's example designs
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 3, H: 224, W: 224}
layers:
  - {op: conv, name: conv, K: 32, R: 3, stride: 2, pad: 1}
"""


@pytest.mark.parametrize(("name", "plan_name"), [("simba_like", "w8a8e8"), ("simple_output_stationary", "w16a16e16")])
def test_counts_cycles_and_energy_of_timeloops_examples(tmp_path, name, plan_name):
    case = CASES[name]
    (tmp_path / "net.yaml").write_text(CONV)
    net = dse.load_workload(str(tmp_path / "net.yaml"))
    hardware = dse.load_hardware(str(DATA / "hardware" / f"timeloop_{name}.yaml"))
    mapping = parse_mapping(case["mapping"])
    costs = evaluate_mappings(net, hardware, Plan.parse(plan_name, net), {"conv": mapping}, "inference", TIMELOOP)
    (row,) = costs.layers.to_dict("records")
    assert row["compute_cycles"] == row["cycles"] == case["cycles"]
    found = {(x["memory"], x["role"]): x for x in costs.counts.to_dict("records")}
    for memory, roles in case["counts"].items():
        for role, (instances, tile, reads, fills, updates) in roles.items():
            ours = found[memory, role]
            assert (ours["instances"], ours["tile_elements"]) == (instances, tile)
            sides = [ours[s] / instances for s in ("reads_to_child", "writes_from_parent", "writes_from_child")]
            assert sides == [reads, fills, updates], (memory, role)
    assert len(found) == sum(len(roles) for roles in case["counts"].values())
    assert {role for _, role in found} == set(ROLES)
    assert row["energy_pj"] == pytest.approx(case["energy_uj"] * 1e6, rel=0.001)
