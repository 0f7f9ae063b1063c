"""Tensors of a training step that wait on the chip: brute force, a recount of DRAM from a simulated step, laws, a bound."""

import dataclasses
from itertools import product

import numpy as np
import pytest

import dse
from dse.cost.fusion.apart import Apart
from dse.cost.fusion.epilogues import saved_bits, with_fusion
from dse.cost.fusion.training.bounds import most_saved_in_training
from dse.cost.fusion.training.path import best_path, sliced_choices
from dse.cost.fusion.training.prices import Prices, RunCost, no_worse
from dse.cost.fusion.training.runs import DATA, FORWARD, WEIGHT, TrainingRuns, slicings
from dse.cost.fusion.training.states import NOTHING, WHOLE, Mode, Step
from dse.cost.fusion.vector import shared_buffer, vector_costs
from dse.cost.jobs.network import network_jobs
from dse.cost.mapped.best_jobs import best_jobs
from dse.cost.tensors.copies import stored_tensors
from dse.hardware.arrays import hardware_arrays
from dse.precision.plans.plan import Plan
from dse.workload.load import network_from_document
from dse.yaml_input import parse_yaml

BRANCHED = """source: test
batch: 4
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: stem, kind: conv, K: 8, C: 2, P: 8, Q: 8, R: 3, S: 3, input: 8, passes: [forward, backward_weight], reads: ['']}
  - {name: stem.norm, kind: norm, G: 8, P: 8, Q: 8, input: 8, reads: [stem]}
  - {name: stem.relu, kind: activation, G: 8, P: 8, Q: 8, input: 8, reads: [stem.norm]}
  - {name: a, kind: conv, K: 8, C: 8, P: 8, Q: 8, R: 3, S: 3, input: 8, reads: [stem.relu]}
  - {name: a.relu, kind: activation, G: 8, P: 8, Q: 8, input: 8, reads: [a]}
  - {name: b, kind: conv, K: 8, C: 8, P: 8, Q: 8, input: 8, reads: [a.relu]}
  - {name: sum, kind: add, G: 8, P: 8, Q: 8, input: 8, reads: [b], reads_second: [stem.relu]}
  - {name: pool, kind: pool, function: average, G: 8, R: 8, S: 8, input: 8, reads: [sum]}
  - {name: last, kind: fc, K: 10, C: 8, reads: [pool]}
"""
#: Bits of an inner tensor of the batch at 8 bits.
N = 4 * 8 * 8 * 8 * 8


@pytest.fixture(scope="module")
def net():
    return network_from_document(parse_yaml(BRANCHED, "branched.yaml"), "branched")


def machine(size, roles=None, name="flex_trainer"):
    """The shared memory of a size at fixed prices."""
    hw = dse.load_hardware(name)
    m = int(shared_buffer(hw, hardware_arrays(hw))[0])
    price = {"size_bits": float(size), "read_pj_per_bit": 0.1, "write_pj_per_bit": 0.12}
    memories = list(hw.memories)
    memories[m] = dataclasses.replace(memories[m], **price)
    return dataclasses.replace(hw, memories=tuple(memories), modelled_leakage=False)


class Parts:
    """What the choice is made of, on one machine under w8a8e8."""

    def __init__(self, net, hw):
        self.plan, self.arrays = Plan.parse("w8a8e8", net), hardware_arrays(hw)
        self.stored = stored_tensors(net, self.plan, True)
        self.work = network_jobs(net, hw, [self.plan], "training", [self.stored])
        self.jobs = best_jobs(hw, self.arrays, self.work.jobs)
        self.saved = saved_bits(net, [self.plan], "training", [self.stored])
        self.vector = vector_costs(net, hw, self.arrays, [self.plan], "training", [self.stored], self.saved)
        self.m = int(shared_buffer(hw, self.arrays)[0])
        written = self.saved.written
        self.apart = Apart(net, hw, self.arrays, [self.plan], [self.stored], self.work, self.jobs, self.vector, written)
        self.runs = TrainingRuns(net, self.plan, self.stored, self.work, 0, hw.memories[self.m].roles)
        self.prices = Prices(self.apart, self.runs, 0, self.m)
        self.base = self.prices.base


@pytest.fixture(scope="module")
def small(net):
    return Parts(net, machine(2.2e4))


def value(base, rows):
    whole = [sum(getattr(row, name) for row in base) for name in ("energy_pj", "cycles")]
    return sum(row.energy_pj / whole[0] + row.cycles / whole[1] for row in rows)


def test_what_may_wait_by_hand(net, small):
    names = {}
    for item in small.runs.items:
        run = small.runs.runs[item.born]
        readers = [(net.layers[small.runs.runs[read.run].row].name, small.runs.runs[read.run].pass_) for read in item.reads]
        names[net.layers[run.row].name, run.pass_] = (readers, item.bits, item.written)
    # stem's result is read, and kept in 16 bits, by its norm; that one's by a and by the sum, and kept by a.
    assert names["stem", FORWARD] == ([("stem.norm", FORWARD)], 2 * N, True)
    assert names["stem.norm", FORWARD] == ([("a", FORWARD), ("sum", FORWARD)], N, True)
    assert names["a", FORWARD] == ([("b", FORWARD)], N, True)
    # The error that b makes is read by both backward passes of a, the sum's by both of b, and by its own row as well.
    assert names["b", DATA] == ([("a", WEIGHT), ("a", DATA)], N, False)
    assert names["pool", DATA][0] == [("b", WEIGHT), ("b", DATA)]
    assert names["pool", DATA][2]
    # Of a tensor with two readers the error is a sum, which DRAM holds.
    assert ("a", DATA) not in names


def test_the_path_is_the_best_of_all_sets_and_slicings(small):
    """Each tensor waits in some number of slices with somebody's weights, or not: every assignment is tried."""
    runs, prices, base = small.runs, small.prices, small.base
    path = best_path(runs, prices)
    found = value(base, [prices.cost(n, step) for n, step in enumerate(path)])
    options = [
        [None, *(mode for mode in prices.states if any(k in state for state in prices.states[mode].get(item.born, ())))]
        for k, item in enumerate(runs.items)
    ]
    best, tried = np.inf, 0
    known = {}
    for picked in product(*options):
        rows = []
        for n in range(len(runs.runs)):
            alive = [k for k, mode in enumerate(picked) if mode and runs.items[k].born <= n <= runs.items[k].last]
            modes = {picked[k] for k in alive}
            state = frozenset(alive)
            over = any(runs.items[k].born < n for k in alive)
            if len(modes) > 1 or (modes and runs.whole[n] and over and max(modes).slices > 1):
                break
            mode = modes.pop() if modes else WHOLE
            if state and state not in prices.states[mode].get(n, ()):
                break
            if (n, mode, state) not in known:
                known[n, mode, state] = prices.cost(n, Step(mode, state))
            rows.append(known[n, mode, state])
            if state and not no_worse(rows[-1], base[n]):
                break
        else:
            tried, best = tried + 1, min(best, value(base, rows))
    assert tried > 20
    assert found == pytest.approx(best, rel=1e-12)
    assert found < value(base, base) * 0.99


def walked(runs, path):
    """How often each run runs, and the most bits that wait at a time, in a step that is walked through slice by slice."""
    count, most, n = [0] * len(path), 0.0, 0
    while n < len(path):
        end = n
        # A stretch ends where nothing waits on.
        while any(runs.items[k].last > end for k in path[end].state):
            end += 1
        slices = path[n].mode.slices
        for _ in range(slices):
            chip = {}
            for at in range(n, end + 1):
                read = {k for k, _ in runs.reads.get(at, []) if k in path[at].state}
                assert read <= set(chip), "what waits was written in this slice"
                if runs.makes.get(at, -1) in path[at].state:
                    chip[runs.makes[at]] = runs.items[runs.makes[at]].bits / slices
                assert set(chip) == set(path[at].state)
                most = max(most, sum(chip.values()))
                count[at] += 1
                chip = {k: bits for k, bits in chip.items() if runs.items[k].last > at}
        n = end + 1
    return count, most


def test_everything_that_waits_was_written_in_its_slice_and_fits(small):
    path = best_path(small.runs, small.prices)
    assert any(step.mode.slices > 1 for step in path)
    count, most = walked(small.runs, path)
    assert most <= 2.2e4
    assert count == [step.mode.slices if step.state else 1 for step in path]


def test_dram_of_a_chip_that_holds_all(net):
    """Weights, the input, what is kept, gradients: all that moves where everything between layers waits, by hand."""
    hw = with_fusion(machine(1e7), "resident")
    cost = dse.evaluate(net, hw, "w8a8e8")
    bits = cost.layers.set_index(["layer", "pass"])["dram_bits"]
    weights = {layer.name: 8 * layer.parameters for layer in net.layers}
    # a: weights, and its result, which b keeps; what it reads waits. b: weights alone, its result streams into the sum.
    assert bits["a", "forward"] == weights["a"] + N
    assert bits["b", "forward"] == weights["b"]
    # On the way back a reads its weights and writes an error that is a sum; b neither reads nor writes one.
    assert bits["b", "backward_data"] == weights["b"]
    gradient = 32 * net.layers[5].parameters
    assert bits["b", "backward_weight"] == pytest.approx(N + gradient)
    assert bits["a", "backward_weight"] == pytest.approx(N * 100 / 64 + 32 * net.layers[3].parameters)


def test_a_larger_memory_is_never_worse_and_fused_is_never_worse(net):
    """In energy; its time may rise (x1.15 from 12,000 to 22,000 bits), since what waits may slow no run beyond what it takes where
    nothing waits, and that falls with the memory too."""
    before = None
    for size in (6e3, 1.2e4, 2.2e4, 5e4, 1.1e5, 1e7):
        hw = machine(size)
        vector, whole = (dse.evaluate(net, hw, "w8a8e8", fusion=fusion) for fusion in ("vector", "resident"))
        for column in ("energy_j", "latency_s", "dram_bits"):
            ours, other = (cost.layers[column].to_numpy() for cost in (whole, vector))
            assert (ours <= other * (1 + 1e-9)).all()
            assert (ours >= 0).all()
        total = whole.total.iloc[0]
        parts = [name for name in whole.layers if name.endswith("_j") and name != "energy_j"]
        assert whole.layers[parts].sum(axis=1).to_numpy() == pytest.approx(whole.layers["energy_j"].to_numpy(), rel=1e-9)
        alone = vector.total.iloc[0]
        found = [float(total["energy_j"]), float(alone["energy_j"] * alone["latency_s"])]
        assert before is None or all(new <= old * (1 + 1e-9) for new, old in zip(found, before, strict=True))
        before = found


def test_no_choice_is_below_the_bound(net, small):
    energy, latency = most_saved_in_training(small.apart)
    reached = 0.0
    for mode, by_run in small.prices.states.items():
        for n, states in by_run.items():
            run, own = small.runs.runs[n], small.base[n]
            for state in states:
                found = small.prices.cost(n, Step(mode, state))
                at = (0, 0, run.row, run.pass_)
                assert (own.energy_pj - found.energy_pj) * 1e-12 <= energy[at] * (1 + 1e-9) + 1e-30
                assert (own.cycles - found.cycles) / small.arrays.clock_hz[0] <= latency[at] * (1 + 1e-9) + 1e-30
                if energy[at] > 0:
                    reached = max(reached, (own.energy_pj - found.energy_pj) * 1e-12 / energy[at])
    assert reached > 0.2


def test_slicings_divide_the_batch():
    assert slicings(256) == (1, 4, 16, 64, 256)
    assert slicings(12) == (1, 4, 12)
    assert slicings(1) == (1,)
    assert all(n % count == 0 for n in range(1, 60) for count in slicings(n))


def test_weights_that_stay_are_read_once(small):
    """A product whose weights stay reads them once for all slices; otherwise once for each."""
    runs, prices = small.runs, small.prices
    row = next(row for row, layer in enumerate(runs.layers) if layer.name == "a")
    n = next(n for n, run in enumerate(runs.runs) if (run.row, run.pass_) == (row, FORWARD))
    made = runs.makes[n]
    state = frozenset({made})
    apart, stays = Mode(4, -1), Mode(4, row)
    if state not in prices.states.get(stays, {}).get(n, ()):
        pytest.fail("the state fits the memory of this test")
    one, other = (prices.cost(n, Step(mode, state)) for mode in (apart, stays))
    assert one.dram_bits - other.dram_bits == pytest.approx(3 * 8 * runs.layers[row].parameters)


def test_nothing_waits_without_slices_that_fit(net):
    parts = Parts(net, machine(1500))
    assert best_path(parts.runs, parts.prices) == [Step(WHOLE, NOTHING)] * len(parts.runs.runs)
    assert not any(choice.changed for choice in sliced_choices(parts.apart).values())
    assert isinstance(parts.base[0], RunCost)
