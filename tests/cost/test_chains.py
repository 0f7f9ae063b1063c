"""Chains of layers that run band by band of rows: lines by hand, DRAM by hand, every path, memory, a bound."""

import dataclasses
from itertools import product

import numpy as np
import pytest

import dse
from dse.cost.fusion.apart import Apart
from dse.cost.fusion.epilogues import saved_bits, with_fusion
from dse.cost.fusion.inference.chains import bandings, lines_of
from dse.cost.fusion.inference.resident import StateCosts, shortest_path
from dse.cost.fusion.inference.rows import no_worse
from dse.cost.fusion.inference.states import Chooser
from dse.cost.fusion.vector import shared_buffer, vector_costs
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.steps.choices import choice_costs
from dse.cost.tensors.copies import stored_tensors
from dse.hardware.arrays import hardware_arrays
from dse.mapping import ArrayOf, fused_counts, load_fused
from dse.precision import Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

BRANCHED = """source: test
batch: 1
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: stem, kind: conv, K: 8, C: 3, P: 16, Q: 16, R: 7, S: 7, stride: 2, input: 32, reads: ['']}
  - {name: pool, kind: pool, G: 8, P: 8, Q: 8, R: 3, S: 3, stride: 2, input: 16, reads: [stem]}
  - {name: a, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, reads: [pool]}
  - {name: b, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, reads: [a]}
  - {name: sum, kind: add, G: 8, P: 8, Q: 8, input: 8, reads: [b], reads_second: [pool]}
  - {name: c, kind: conv, K: 8, C: 8, P: 4, Q: 4, R: 3, S: 3, stride: 2, input: 8, reads: [sum]}
  - {name: last, kind: conv, K: 8, C: 8, P: 4, Q: 4, input: 4, reads: [c]}
"""
#: Bits of a row of the results of stem and of pool at 8 bits.
STEM, POOL = 8 * 16 * 8, 8 * 8 * 8


@pytest.fixture(scope="module")
def net():
    return network_from_document(parse_yaml(BRANCHED, "branched.yaml"), "branched")


def machine(size, fuses=("epilogue", "residency", "chain")):
    """The shared memory of a size at fixed prices."""
    hw = dse.load_hardware("flex_trainer")
    m = int(shared_buffer(hw, hardware_arrays(hw))[0])
    price = {"size_bits": float(size), "read_pj_per_bit": 0.1, "write_pj_per_bit": 0.12}
    memories = list(hw.memories)
    memories[m] = dataclasses.replace(memories[m], **price)
    return dataclasses.replace(hw, memories=tuple(memories), modelled_leakage=False, fuses=fuses, fusion="best")


def prices_of(net, hw):
    plan, arrays = Plan.parse("w8a8", net), hardware_arrays(hw)
    stored = [stored_tensors(net, plan, False)]
    work = network_jobs(net, hw, [plan], "inference", stored)
    saved = saved_bits(net, [plan], "inference", stored)
    vector = vector_costs(net, hw, arrays, [plan], "inference", stored, saved)
    m = int(shared_buffer(hw, arrays)[0])
    apart = Apart(net, hw, arrays, [plan], stored, work, best_jobs(hw, arrays, work.jobs), vector, saved.written)
    return StateCosts(apart, Chooser(net, hw, plan, stored[0], work, 0, hw.memories[m].roles), 0, m)


@pytest.fixture(scope="module")
def prices(net):
    return prices_of(net, machine(3.2e4))


def test_lines_by_hand(net, prices):
    place = {layer.name: row for row, layer in enumerate(net.layers)}

    def of(first, last):
        lines = lines_of(prices.chooser, place[first], place[last])
        return {net.layers[prices.chooser.found.tensors[line.tensor].born].name: line for line in lines.inner}, lines

    found, lines = of("stem", "a")
    # A window of 3 at stride 2 over 16 rows needs one row of padding, taken to lie below: it reaches one row into the next band, and so
    # a row of the result waits for it, with the 2 rows that it stands on.
    assert (found["stem"].beyond, found["stem"].row_bits) == (2, STEM)
    assert set(found) == {"stem"}
    assert lines.weights == 8 * (8 * 3 * 49 + 8 * 8 * 9)
    # Bands of one row of pool: 2 + 2 rows of stem; never more than there are.
    assert lines.bits(8) - lines.weights == 4 * STEM
    assert lines.bits(1) - lines.weights == 16 * STEM
    # A window of 3 at stride 1: the row above and the row that is still to come below. The sum meets what b has made of a, two rows
    # behind pool, whose rows wait as long.
    found, _ = of("stem", "sum")
    assert (found["pool"].beyond, found["pool"].row_bits) == (2, POOL)
    assert (found["a"].beyond, found["a"].row_bits) == (2, POOL)


def test_bands_divide_rows():
    assert bandings(56) == (2, 4, 8, 28, 56)
    assert bandings(7) == (7,)
    assert bandings(1) == ()
    assert all(rows % bands == 0 for rows in range(2, 60) for bands in bandings(rows))


def test_dram_of_a_chain_by_hand_and_as_the_nest_that_is_run(prices):
    """a and b in bands: weights, the input and the output, as the counts of the fused schedule that keeps overlaps."""
    chains = [(chain, costs) for chain, costs in prices.chains().ending[3] if chain.first == 2 and not chain.state | chain.leaves]
    assert chains
    for chain, (a, b) in chains:
        schedule = load_fused_text(8 // chain.bands)
        counts = fused_counts(schedule, ArrayOf(16, 32))
        weights, output = 8 * 8 * 9, 8 * 8 * 8
        assert counts.dram_reads - 2 * weights == 8 * 12 * 12
        assert counts.dram_writes == output
        assert counts.stages[0].weights_read == counts.stages[1].weights_read == weights
        # Windows read the padding of their own layer.
        assert a.dram_bits == pytest.approx(8 * (weights + 8 * 10 * 10))
        assert b.dram_bits == pytest.approx(8 * weights)  # its result streams into the sum


def load_fused_text(tile):
    import tempfile
    from pathlib import Path

    text = f"""name: pair
tile: {{P: {tile}}}
overlap: {{P: cache}}
stages:
  - {{name: a, K: 8, C: 8, P: 10, Q: 10, R: 3, S: 3, weights: kept}}
  - {{name: b, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, weights: kept}}
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.yaml"
        path.write_text(text)
        return load_fused(path)


def value(base, rows):
    whole = [sum(getattr(row, name) for row in base) for name in ("energy_pj", "cycles")]
    return sum(row.energy_pj / whole[0] + row.cycles / whole[1] for row in rows)


@pytest.mark.parametrize("size", [2.2e4, 3.2e4])
def test_the_path_is_the_best_of_all(net, size):
    """Every way to go over the network, layer by layer or in chains, with every set that waits."""
    prices = prices_of(net, machine(size))
    base, ending = prices.base, prices.chains().ending
    chains = {}
    for found in ending.values():
        for chain, costs in found:
            chains.setdefault(chain.first, []).append((chain, costs))
    items, known = prices.chooser.items, []

    def walk(row, alive, rows):
        if row == len(base):
            known.append(value(base, rows))
            return
        for state in prices.states[row]:
            if frozenset(t for t in state if next(i.born for i in items if i.tensor == t) < row) == alive:
                cost = no_worse(prices.cost(row, state), base[row])
                if cost is not base[row] or not state:
                    walk(row + 1, frozenset(i.tensor for i in items if i.tensor in state and i.last > row), [*rows, cost])
        for chain, costs in chains.get(row, []):
            if chain.state == alive:
                on = chain.state | chain.leaves
                walk(chain.last + 1, frozenset(i.tensor for i in items if i.tensor in on and i.last > chain.last), [*rows, *costs])

    walk(0, frozenset(), [])
    path = shortest_path(prices.states, base, prices.cost, items, ending)
    rows = [cost for part in path for cost in (part.costs or [no_worse(prices.cost(part.first, part.state), base[part.first])])]
    assert len(known) > 50
    assert any(part.chain for part in path)
    assert value(base, rows) == pytest.approx(min(known), rel=1e-12)


def test_chains_save_and_a_larger_memory_is_never_worse(net):
    before, saves = None, 0
    for size in (8e3, 2.2e4, 3.2e4, 1e6):
        chains, resident = (dse.evaluate(net, machine(size, fuses), "w8a8", mode="inference") for fuses in (machine(1e4).fuses, ("epilogue", "residency")))
        ours, other = chains.total.iloc[0], resident.total.iloc[0]
        names = ("energy_j", "latency_s", "dram_bits")
        assert ours["energy_j"] / other["energy_j"] + ours["latency_s"] / other["latency_s"] <= 2 * (1 + 1e-9)
        assert before is None or sum(ours[name] / before[name] for name in names[:2]) <= 2 * (1 + 1e-9)
        apart = dse.evaluate(net, machine(size), "w8a8", mode="inference", fusion="none").total.iloc[0]
        assert all(ours[name] <= apart[name] * (1 + 1e-9) for name in names)
        saves += ours["dram_bits"] < other["dram_bits"] * 0.95
        parts = [name for name in chains.layers if name.endswith("_j") and name != "energy_j"]
        assert chains.layers[parts].sum(axis=1).to_numpy() == pytest.approx(chains.layers["energy_j"].to_numpy(), rel=1e-9)
        assert (chains.layers[parts] >= -1e-18).all().all()
        before = ours
    assert saves >= 2


def test_no_map_is_below_the_bound(net):
    hw = with_fusion(machine(2.2e4), "best")
    choices, names = [(4, 4), (8, 8)], [layer.name for layer in net.mac_layers]
    plans = [[Plan.from_bits(net, weight=w, activation=a, error=8) for w, a in choices]]
    costs = choice_costs(net, hw, hardware_arrays(hw), plans, [(index,) for index in range(len(names))], "inference")
    for picked in list(product(range(2), repeat=len(names)))[::3]:
        widths = {name: choices[k][0] for name, k in zip(names, picked, strict=True)}
        total = dse.evaluate(net, hw, Plan.from_bits(net, widths, widths, error=8), mode="inference").total.iloc[0]
        at = np.arange(len(names)), np.array(picked)
        for table, high, name in ((costs.least_energy_j, costs.energy_j, "energy_j"), (costs.least_latency_s, costs.latency_s, "latency_s")):
            assert table[0, 0][at].sum() <= total[name] * (1 + 1e-9)
            assert total[name] <= high[0, 0][at].sum() * (1 + 1e-9)
