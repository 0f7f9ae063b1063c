"""backward_data of convolutions of stride 1, scattered or gathered: the same numbers, and the better order is taken."""

import numpy as np
import pytest

import dse
from dse.cost.jobs.network import gathered_nest, network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.mapped.explicit import best_mappings, evaluate_mappings
from dse.cost.mapped.table_jobs import cost_jobs
from dse.hardware import hardware_arrays
from dse.hardware.from_file.load import hardware_from_document
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 6, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 6, R: 3, pad: 1}
  - {op: conv, name: depthwise, K: 6, R: 3, pad: 1, groups: 6}
  - {op: conv, name: strided, K: 6, R: 3, stride: 2, pad: 1, groups: 6}
  - {op: conv, name: point, K: 4, R: 1}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")
HARDWARE = hardware_from_document(
    parse_yaml(
        """name: rows
description: rows sum over the filter, a test
source: made up
node_nm: 28
clock_hz: 500_000_000
array:
  source: made up
  axes:
    rows: {size: 9, forward: [C, R, S], backward_data: [K], backward_weight: [N, P, Q]}
    cols: {size: 4, forward: [K, G], backward_data: [C, G], backward_weight: [K, G]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 32}
memories:
  buffer: {source: made up, kind: sram, size_bits: 16_384, bandwidth_bits_per_cycle: 1024}
  dram: {source: made up, kind: dram, dram: lpddr4, bandwidth_bits_per_cycle: 512}
""",
        "hw.yaml",
    )
)


def test_gathering_makes_what_scattering_makes():
    """The forward convolution of the errors with the turned filter, K and C exchanged, at several paddings and dilations."""
    rng = np.random.default_rng(5)
    for size, pad, dilation in ((6, 0, 1), (6, 1, 1), (7, 2, 2)):
        k, c, r = 3, 2, 3
        out = size + 2 * pad - dilation * (r - 1)
        weight, error = rng.normal(size=(k, c, r, r)), rng.normal(size=(k, out, out))
        scattered = np.zeros((c, size + 2 * pad, size + 2 * pad))
        for p, q, y, x in np.ndindex(out, out, r, r):
            scattered[:, p + y * dilation, q + x * dilation] += weight[:, :, y, x].T @ error[:, p, q]
        scattered = scattered[:, pad : pad + size, pad : pad + size]
        around = dilation * (r - 1) - pad
        wide = np.pad(error, ((0, 0), (around, around), (around, around)))
        gathered = np.zeros((c, size, size))
        for h, w, y, x in np.ndindex(size, size, r, r):
            gathered[:, h, w] += weight[:, :, r - 1 - y, r - 1 - x].T @ wide[:, h + y * dilation, w + x * dilation]
        np.testing.assert_allclose(gathered, scattered, rtol=1e-12, atol=1e-12)


def test_the_other_order_is_a_forward_convolution_over_the_input():
    layer = {layer.name: layer for layer in NET.layers}
    nest = gathered_nest(layer["depthwise"], "backward_data", 5)
    assert nest is not None
    assert (nest.dims, nest.pass_) == ((5, 6, 1, 1, 8, 8, 3, 3), "forward")
    assert all(gathered_nest(layer[name], "backward_data", 5) is None for name in ("strided", "point"))
    assert all(gathered_nest(layer["depthwise"], pass_, 5) is None for pass_ in ("forward", "backward_weight"))


@pytest.fixture(scope="module")
def found():
    plan, arrays = dse.Plan.parse("w8a8e8", NET), hardware_arrays(HARDWARE)
    work = network_jobs(NET, HARDWARE, [plan])
    return plan, work, cost_jobs(HARDWARE, arrays, work.jobs), best_jobs(HARDWARE, arrays, work.jobs)


def test_the_better_order_is_taken(found):
    _, work, scattered, best = found
    edp = [costs.energy_pj[0] * costs.cycles[0] for costs in (scattered, best)]
    assert (edp[1] <= edp[0]).all()
    gathered = best.nest[0] != work.jobs.nest
    names = [layer.name for layer in NET.mac_layers]
    job = work.job[0, names.index("depthwise"), 1, 0]
    assert gathered[job]
    # Nine rows sum over the filter where one had a product; columns take four of six groups, so that fewer than nine are gained.
    assert best.cycles[0, job] < scattered.cycles[0, job] / 4
    assert (edp[1][~gathered] == edp[0][~gathered]).all()


def test_its_mapping_says_the_order_and_costs_the_same_again(found):
    plan, work, _, best = found
    mappings = best_mappings(NET, HARDWARE, plan, search_mappings=False)
    assert "depthwise.backward_data.gather" in mappings
    rows = evaluate_mappings(NET, HARDWARE, plan, mappings).layers.set_index(["layer", "pass"])
    names = [layer.name for layer in NET.mac_layers]
    for (layer, pass_), row in rows.iterrows():
        job = work.job[0, names.index(layer), ("forward", "backward_data", "backward_weight").index(pass_), 0]
        assert row["energy_pj"] == pytest.approx(best.energy_pj[0, job], rel=1e-9)
        assert row["cycles"] == pytest.approx(best.cycles[0, job], rel=1e-9)
    assert rows.loc[("depthwise", "backward_data"), "order"] == "gather"
