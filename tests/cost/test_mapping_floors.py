"""No mapping undercuts the lower bounds: not the best ones, nor random ones on every shipped accelerator; what evaluate tells of it."""

import numpy as np
import pytest

import dse
from dse.cost.jobs.floors import mapping_floor
from dse.cost.jobs.formats import unusable
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.mapped.mapping_checks import on_hardware
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.hardware.arrays import hardware_arrays
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.names import DIMS, ROLES
from dse.shipped import shipped_names
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

TEXT = """
source: made up
batch: 3
samples: 3
epochs: 1
optimizer: sgd
nests:
  - {name: strided, kind: conv, K: 10, C: 6, P: 7, Q: 7, R: 3, S: 3, stride: 2, input: 14}
  - {name: depthwise, kind: conv, G: 12, K: 1, C: 1, P: 6, Q: 6, R: 3, S: 3, input: 6}
  - {name: product, kind: fc, N: 24, K: 40, C: 36}
"""
NET = network_from_document(parse_yaml(TEXT, "net.yaml"), "net")


def random_mapping(rng, nest, hardware):
    """Loops in any order, some of them along axes, and cuts anywhere; small tiles, so that some of them fit."""
    left, inner = dict(zip(DIMS, nest.dims, strict=True)), []
    for axis in hardware.axes:
        room = int(axis.size)
        for d in rng.permutation(axis.dims[nest.pass_]).tolist():
            size = int(rng.integers(1, min(room, left[d]) + 1))
            if size > 1:
                inner.append(Loop(d, size, axis.name))
                left[d], room = -(-left[d] // size), room // size
    loops = []
    for d, trips in left.items():
        size = int(rng.integers(1, trips + 1))
        loops += [Loop(d, n) for n in (size, -(-trips // size)) if n > 1]
    loops = [loops[i] for i in rng.permutation(len(loops))]
    least, levels = dict.fromkeys(ROLES, 0), []
    for memory in hardware.memories[:-1]:
        cuts = []
        for role in ROLES:
            if role in memory.roles:
                least[role] = max(least[role], int(rng.integers(0, len(loops) + 1)) if rng.random() < 0.5 else 0)
            cuts.append(len(inner) + least[role] if role in memory.roles else None)
        levels.append(Level(memory.name, tuple(cuts), memory.shared_along))
    every = len(inner) + len(loops)
    axes = tuple(axis.name for axis in hardware.axes)
    return Mapping((*inner, *loops), (*levels, Level(hardware.memories[-1].name, (every,) * 3, axes)))


def jobs_of(hardware):
    """Jobs in a format that the hardware multiplies."""
    mode = "inference" if hardware.inference_only else "training"
    for text in ("w8a8e8", "bf16", "mls_e2m4", "mxfp8_e4m3"):
        jobs = network_jobs(NET, hardware, [dse.Plan.parse(text, NET)], mode).jobs
        if not unusable(hardware, jobs, np.arange(len(jobs.nest))):
            return jobs
    raise AssertionError("no format")


@pytest.mark.parametrize("name", shipped_names("hwmodels"))
def test_no_random_mapping_undercuts_the_bounds(name):
    hardware, rng = dse.load_hardware(name), np.random.default_rng(len(name))
    arrays, jobs = hardware_arrays(hardware), jobs_of(hardware)
    floor = mapping_floor(hardware, arrays, jobs)
    assert (floor.energy_pj > 0).all()
    assert (floor.cycles > 0).all()
    tried = 0
    for job in range(len(jobs.nest)):
        nest = jobs.nests[int(jobs.nest[job])]
        for _ in range(6):
            mapping, problems = on_hardware(random_mapping(rng, nest, hardware), nest, hardware, arrays, jobs, job)
            if not problems:
                row, _ = cost_of_mapping(mapping, job, hardware, arrays, jobs, ENGINE)
                assert floor.energy_pj[0, job] <= row["energy_pj"] * (1 + 1e-9)
                assert floor.cycles[0, job] <= row["cycles"] * (1 + 1e-9)
                tried += 1
    assert tried


def test_no_best_mapping_undercuts_the_bounds():
    hardware = dse.load_hardware("bit_fusion")
    arrays, jobs = hardware_arrays(hardware), jobs_of(hardware)
    floor, costs = mapping_floor(hardware, arrays, jobs), best_jobs(hardware, arrays, jobs)
    assert (floor.energy_pj <= costs.energy_pj * (1 + 1e-9)).all()
    assert (floor.cycles <= costs.cycles * (1 + 1e-9)).all()


def test_the_gap_is_shown_by_layer_and_in_total():
    cost = dse.evaluate(NET, "bit_fusion", ["w8a8", "w2a2"], mode="inference", mapping_objective="energy")
    assert cost.layers["mapping_gap"].between(0, 1).all()
    assert cost.total["mapping_gap"].between(0, 1).all()
    for plan, rows in cost.layers.groupby("plan"):
        total = cost.total.set_index("plan")["mapping_gap"][plan]
        assert rows["mapping_gap"].min() <= total <= rows["mapping_gap"].max()
    both = dse.evaluate(NET, "bit_fusion", "w2a2", mode="inference")
    assert both.total["mapping_gap"][0] > cost.total["mapping_gap"][1]


def test_each_tensor_moves_once_at_least():
    """By hand: 24 x 36 inputs, 40 x 36 weights and 24 x 40 results of 8 bits."""
    hardware = dse.load_hardware("bit_fusion")
    arrays = hardware_arrays(hardware)
    jobs = network_jobs(NET, hardware, [dse.Plan.parse("w8a8", NET)], "inference").jobs
    product = next(job for job, n in enumerate(jobs.nest) if jobs.nests[int(n)].dims[2] == 40)
    width = float(arrays.bandwidth_bits_per_cycle[0, -1] * arrays.instances[0, -1])
    result = float(jobs.stored_bits[product, 2])
    dram = ((24 * 36 + 40 * 36) * 8 + 24 * 40 * result) / width
    assert mapping_floor(hardware, arrays, jobs).cycles[0, product] >= dram
