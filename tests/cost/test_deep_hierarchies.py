"""The best mapping on hierarchies of any depth: equal to every mapping there is on small layers, and the laws."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.mapped.explicit import best_mappings, evaluate_mappings
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.cost.mapped.table_jobs import is_deep
from dse.hardware.arrays import hardware_arrays
from dse.hardware.from_file.load import hardware_from_document
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.mapping.explicit.text import parse_mapping
from dse.names import ROLES
from dse.precision import Plan
from dse.yaml_input import parse_yaml

#: Registers, a buffer of each cluster, two memories of the chip.
CLUSTERS = """
name: clusters
description: two clusters with a buffer each under two shared memories
source: made up
node_nm: 45
clock_hz: 1_000_000
array:
  source: made up
  axes:
    lanes: {size: 2, forward: [C], backward_data: [K], backward_weight: [N, P, Q]}
    clusters: {size: 2, forward: [K], backward_data: [C], backward_weight: [K]}
pe: {source: made up, family: fixed, max_weight_bits: 8, max_activation_bits: 8, accumulator_bits: 16, energy_pj_per_mac: 0.5}
memories:
  weights: {source: x, kind: register, holds: [weight], shared_along: [], size_bits: 32, read_pj_per_bit: 0.01, write_pj_per_bit: 0.01}
  sums: {source: x, kind: register, holds: [accumulator], shared_along: [lanes], size_bits: 64, read_pj_per_bit: 0.01,
         write_pj_per_bit: 0.02}
  local: {source: x, kind: sram, holds: [weight, activation], shared_along: [lanes], size_bits: 128, read_pj_per_bit: 0.1,
          write_pj_per_bit: 0.12, bandwidth_bits_per_cycle: 32}
  near: {source: x, kind: sram, size_bits: 512, read_pj_per_bit: 0.3, write_pj_per_bit: 0.4, bandwidth_bits_per_cycle: 48}
  far: {source: x, kind: sram, holds: [activation, accumulator], size_bits: 4096, read_pj_per_bit: 1.0, write_pj_per_bit: 1.2,
        bandwidth_bits_per_cycle: 32}
  dram: {source: x, kind: dram, bandwidth_bits_per_cycle: 16, read_pj_per_bit: 10.0, write_pj_per_bit: 12.0}
modelled_leakage: false
idle_w: 1.0e-6
"""
LAYERS = """
source: made up
batch: {batch}
samples: 100
epochs: 1
optimizer: sgd
input: {{C: {c}, H: {h}, W: 1}}
layers:
  - {{op: conv, name: conv, K: {k}, R: {r}, S: 1}}
"""


def hardware(text=CLUSTERS):
    return hardware_from_document(parse_yaml(text, "clusters.yaml"))


def network(tmp_path, batch=1, c=4, h=2, k=4, r=1):
    path = tmp_path / "net.yaml"
    path.write_text(LAYERS.format(batch=batch, c=c, h=h, k=k, r=r))
    return dse.load_workload(str(path))


def primes(n):
    found, p = [], 2
    while n > 1:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found


def least_of_all_mappings(net, hw, plan):
    """By objective, the least value of every order of prime loops, every cut and every memory left out, under the one full unrolling.

    Operands do not see each other but in capacities and in the time of a memory, so each one's cuts are priced once by the public
    evaluation with the others in DRAM only, and put together afterwards.
    """
    work = network_jobs(net, hw, [plan], "inference")
    arrays = hardware_arrays(hw, None)
    nest = work.jobs.nests[0]
    spatial = [Loop("C", 2, "lanes"), Loop("K", 2, "clusters")]
    trips = dict(zip("NGKCPQRS", nest.dims, strict=True))
    for loop in spatial:
        trips[loop.dim] //= loop.extent
    temporal = [(d, p) for d, n in trips.items() for p in primes(n)]
    names = [memory.name for memory in hw.memories]
    best = dict.fromkeys(("energy", "latency", "edp"), np.inf)
    for order in sorted(set(itertools.permutations(temporal))):
        loops = (*spatial, *(Loop(d, n) for d, n in order))
        depth = len(loops)
        options = []
        for r, role in enumerate(ROLES):
            held = [m for m, memory in enumerate(hw.memories[:-1]) if role in memory.roles]
            rows = []
            for kept in itertools.chain.from_iterable(itertools.combinations(held, n) for n in range(len(held) + 1)):
                for cuts in itertools.combinations_with_replacement(range(2, depth + 1), len(kept)):
                    levels = [
                        Level(names[m], tuple(cut if i == r else None for i in range(3)), hw.memories[m].shared_along)
                        for m, cut in zip(kept, cuts, strict=True)
                    ]
                    levels.append(Level("dram", (depth,) * 3, ("lanes", "clusters")))
                    row, entries = cost_of_mapping(Mapping(loops, tuple(levels)), 0, hw, arrays, work.jobs, ENGINE)
                    own = [x for x in entries if x["role"] == role]
                    tile, bits = np.zeros(len(names)), np.zeros(len(names))
                    for x in own:
                        tile[names.index(x["memory"])] = x["tile_bits"]
                        bits[names.index(x["memory"])] = x["moved_bits"]
                    rows.append((sum(x["energy_pj"] for x in own), tile, bits))
            options.append([np.array([row[i] for row in rows]) for i in range(3)])
        (we, wt, wb), (ae, at, ab), (oe, ot, ob) = options
        energy = we[:, None, None] + ae[None, :, None] + oe[None, None] + row["mac_pj"]
        cycles = np.full(energy.shape, row["compute_cycles"])
        fits = np.ones(energy.shape, bool)
        for m in range(len(names)):
            used = wt[:, m][:, None, None] + at[:, m][None, :, None] + ot[:, m][None, None]
            moved = wb[:, m][:, None, None] + ab[:, m][None, :, None] + ob[:, m][None, None]
            fits &= used <= (arrays.size_bits[0, m] if m < len(names) - 1 else np.inf)
            cycles = np.maximum(cycles, moved / (arrays.bandwidth_bits_per_cycle[0, m] * arrays.instances[0, m]))
        energy = energy + arrays.leakage_w[0] / arrays.clock_hz[0] * 1e12 * cycles
        for name, value in (("energy", energy), ("latency", cycles), ("edp", energy * cycles)):
            best[name] = min(best[name], float(value[fits].min()))
    return best


@pytest.mark.long
def test_no_mapping_at_all_is_better(tmp_path):
    """Uneven cuts, a window that slides, every objective."""
    net, hw = network(tmp_path, k=6, c=2, h=3, r=2), hardware()
    assert is_deep(hw)
    plan = Plan.parse("w8a8e8", net)
    work = network_jobs(net, hw, [plan], "inference")
    for objective, least in least_of_all_mappings(net, hw, plan).items():
        costs = best_jobs(hw, hardware_arrays(hw, None), work.jobs, objective)
        energy, cycles = costs.energy_pj[0, 0], costs.cycles[0, 0]
        ours = {"energy": energy, "latency": cycles, "edp": energy * cycles}[objective]
        assert ours <= least * (1 + 1e-9), objective


def total(net, hw, plan="w8a8e8", mode="inference", objective="edp"):
    row = dse.evaluate(net, hw, Plan.parse(plan, net), mode=mode, mapping_objective=objective).total.iloc[0]
    assert row["feasible"], row["limit"]
    return {"energy": row["energy_j"], "latency": row["latency_s"], "edp": row["energy_j"] * row["latency_s"]}[objective]


def test_more_room_bandwidth_and_freedom_are_never_worse_and_fewer_bits_never_cost_more(tmp_path):
    net = network(tmp_path, batch=3, c=10, h=9, k=12, r=3)
    base = total(net, hardware())
    for old, new in [
        ("size_bits: 512,", "size_bits: 1024,"),
        ("size_bits: 128,", "size_bits: 160,"),
        ("bandwidth_bits_per_cycle: 16,", "bandwidth_bits_per_cycle: 24,"),
        ("forward: [K]", "forward: [K, P]"),
        ("lanes: {size: 2", "lanes: {size: 5"),
    ]:
        assert old in CLUSTERS
        assert total(net, hardware(CLUSTERS.replace(old, new))) <= base * (1 + 1e-9), new
    widths = [total(net, hardware(), plan) for plan in ("w8a8e8", "w6a8e8", "w6a6e8", "w3a4e8", "w2a2e8")]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(widths)), widths


def test_mappings_that_are_written_cost_what_evaluate_says(tmp_path):
    net, hw = network(tmp_path, batch=2, c=6, h=8, k=10, r=3), hardware()
    plan = Plan.parse("w8a8e8", net)
    layers = dse.evaluate(net, hw, plan, mode="training").layers.set_index("pass")
    rows = evaluate_mappings(net, hw, plan, best_mappings(net, hw, plan)).layers.set_index("pass")
    assert list(rows.index) == ["forward", "backward_weight"]
    for name in rows.index:
        for memory in ("weights", "sums", "local", "near", "far"):
            assert rows.loc[name, f"{memory}_pj"] * 1e-12 == pytest.approx(layers.loc[name, f"{memory}_j"], rel=1e-12, abs=1e-30)
        assert rows.loc[name, "latency_s"] <= layers.loc[name, "latency_s"] * (1 + 1e-12)


def test_what_does_not_fit_is_said(tmp_path):
    net = network(tmp_path, batch=2)
    row = dse.evaluate(net, hardware(), Plan.parse("w16a16e16", net), mode="inference").total.iloc[0]
    assert not row["feasible"]
    assert "does not multiply" in row["limit"]


def test_an_unrolling_among_many_is_found(tmp_path):
    """backward_weight on simba_like with free buffers has 70 unrollings; with fewer tried, the best cost a fifth more energy than this."""
    known = (
        "dram[WAO] N52 - weight_buffer[W] C10 - accumulation_buffer[O] N5 - global_buffer[A] Q14 P7 S3 R3 C14 Q2@lanes P4@lanes "
        "K8@vectors K16@elements"
    )
    path = tmp_path / "net.yaml"
    path.write_text(
        "source: ResNet-18\nbatch: 256\nsamples: 256\nepochs: 1\noptimizer: sgd\ninput: {C: 128, H: 28, W: 28}\n"
        "layers:\n  - {op: conv, name: conv, K: 128, R: 3, pad: 1}\n"
    )
    net, hw = dse.load_workload(str(path)), replace(dse.load_hardware("simba_like"), bypass=True)
    plan = Plan.parse("w8a8e8", net)
    text = known.replace("]", "]/elements,vectors,lanes", 1).replace("weight_buffer[W]", "weight_buffer[W]/vectors,lanes")
    text = text.replace("accumulation_buffer[O]", "accumulation_buffer[O]/vectors,lanes")
    text = text.replace("global_buffer[A]", "global_buffer[A]/elements,vectors,lanes")
    theirs = evaluate_mappings(net, hw, plan, {"conv.backward_weight": parse_mapping(text)}).layers.iloc[0]
    work = network_jobs(net, hw, [plan])
    costs = best_jobs(hw, hardware_arrays(hw, None), work.jobs)
    job = next(u for u in range(len(work.jobs.nest)) if work.jobs.nests[work.jobs.nest[u]].pass_ == "backward_weight")
    ours = costs.energy_pj[0, job] * costs.cycles[0, job]
    assert ours <= theirs["energy_pj"] * theirs["cycles"] * 1.005
