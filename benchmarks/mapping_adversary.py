"""Look for mappings that are better than the best one, with means that know nothing of how that was found.

    python benchmarks/mapping_adversary.py HARDWARE NETWORK [--plan w8a8e8] [--mode training] [--objective edp] [--seconds 60]
        [--seeds 2]

Against mappings as ``dse evaluate`` has them (with ``DSE_MAPPINGS=tables``: those of the tables). For every distinct nest of the
network: hand rules (one operand's loops innermost or outermost, tiles that fill the memories, all in one level), random mappings,
all orders of the loops of a level where they are few, and hill climbing and simulated annealing from the best of them and from
the program's own mapping, with several seeds. Every candidate goes through the explicit
evaluation that a user's mapping goes through (:func:`dse.cost.mapped.explicit.evaluate_mappings`): whether it suits the hardware,
its counts, its price. Ends with one JSON line: ``worst_ratio`` is the objective of the program's mapping over that of the best one
found here (above 1: it was beaten), ``layers`` the ratio of every nest and what found it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

import dse
from dse.cost.jobs.formats import Jobs
from dse.cost.jobs.network import layer_runs, network_jobs
from dse.cost.mapped.best_jobs import best_jobs, mapping_of
from dse.cost.mapped.mapping_checks import on_hardware
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.cost.mapped.searched import searching
from dse.hardware.arrays import HardwareArrays, hardware_arrays
from dse.hardware.model import Hardware
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.explicit.mapping import Level, Loop, Mapping
from dse.mapping.explicit.text import format_mapping
from dse.mapping.nest import RELEVANT, Nest
from dse.names import DIMS, ROLES

#: Loops of a dim in time, at most.
MOST_LOOPS = 3
#: Loops between two cuts of which all orders are tried, at most.
MOST_ORDERED = 4
#: Of annealing at its start: the logarithm of a loss that is taken in one of e cases.
HEAT = 0.1


@dataclass(frozen=True)
class Question:
    """One nest with its formats on one design."""

    hardware: Hardware
    arrays: HardwareArrays
    jobs: Jobs
    job: int
    objective: str

    @property
    def nest(self) -> Nest:
        return self.jobs.nests[int(self.jobs.nest[self.job])]

    def value(self, mapping: Mapping) -> float:
        """What is minimized, as the explicit evaluation has it; infinite where the mapping does not suit the hardware."""
        placed, problems = on_hardware(mapping, self.nest, self.hardware, self.arrays, self.jobs, self.job)
        if problems:
            return math.inf
        row, _ = cost_of_mapping(placed, self.job, self.hardware, self.arrays, self.jobs, ENGINE)
        energy, cycles = float(row["energy_pj"]), float(row["cycles"])
        return {"edp": energy * cycles, "energy": energy, "latency": cycles}[self.objective]


@dataclass(frozen=True)
class Candidate:
    """A mapping in parts that are easy to change.

    Attributes
    ----------
    spatial
        (axis, dim, size) of what is unrolled.
    loops
        (dim, trips) in time from the inside to the outside.
    cuts
        By (memory, role): how many of the loops its tile contains; None where it is passed by.
    """

    spatial: tuple[tuple[str, str, int], ...]
    loops: tuple[tuple[str, int], ...]
    cuts: tuple[tuple[tuple[int, str], int | None], ...]

    def mapping(self, question: Question) -> Mapping:
        """As loops and levels; tiles of a role nest."""
        hardware = question.hardware
        inner = [Loop(dim, size, axis) for axis, dim, size in self.spatial]
        cuts, levels = dict(self.cuts), []
        least = dict.fromkeys(ROLES, 0)
        for m, memory in enumerate(hardware.memories[:-1]):
            own: list[int | None] = []
            for role in ROLES:
                cut = cuts.get((m, role))
                if cut is not None:
                    least[role] = max(least[role], min(cut, len(self.loops)))
                    own.append(len(inner) + least[role])
                else:
                    own.append(None)
            if any(cut is not None for cut in own):
                levels.append(Level(memory.name, (own[0], own[1], own[2]), memory.shared_along))
        every = len(inner) + len(self.loops)
        outer = hardware.memories[-1]
        levels.append(Level(outer.name, (every, every, every), tuple(axis.name for axis in hardware.axes)))
        return Mapping((*inner, *(Loop(dim, trips) for dim, trips in self.loops)), tuple(levels), "adversary")


def slots(hardware: Hardware) -> list[tuple[int, str]]:
    """Roles in memories on the chip."""
    return [(m, role) for m, memory in enumerate(hardware.memories[:-1]) for role in memory.roles]


def unrolled(question: Question, rng: np.random.Generator) -> tuple[tuple[str, str, int], ...]:
    """Dims along the axes: at random, or as much as fits of one or two dims."""
    left = dict(zip(DIMS, question.nest.dims, strict=True))
    found = []
    for axis in question.hardware.axes:
        room = int(axis.size)
        dims = [d for d in axis.dims[question.nest.pass_] if left[d] > 1]
        for d in rng.permutation(dims).tolist() if dims else []:
            size = min(room, left[d])
            if rng.random() < 0.2:
                size = int(rng.integers(1, size + 1))
            size = -(-left[d] // -(-left[d] // size))
            if size > 1 and rng.random() < 0.9:
                found.append((axis.name, d, size))
                left[d], room = -(-left[d] // size), room // size
    return tuple(found)


def rest(question: Question, spatial: tuple[tuple[str, str, int], ...]) -> dict[str, int]:
    """Trips in time by dim."""
    left = dict(zip(DIMS, question.nest.dims, strict=True))
    for _, d, size in spatial:
        left[d] = -(-left[d] // size)
    return left


def in_order(question: Question, spatial: tuple[tuple[str, str, int], ...], rng: np.random.Generator) -> Candidate:
    """Random loops and cuts under an unrolling."""
    loops: list[tuple[str, int]] = []
    for d, trips in rest(question, spatial).items():
        for _ in range(MOST_LOOPS - 1):
            if trips > 1 and rng.random() < 0.6:
                size = round(math.exp(rng.uniform(0, math.log(trips))))
                loops.append((d, size))
                trips = -(-trips // size)
        loops.append((d, trips))
    loops = [loops[i] for i in rng.permutation(len(loops)) if loops[i][1] > 1]
    # of one dim the loops keep their factors, whatever their order
    passes = question.hardware.bypass
    cuts = tuple(
        (slot, None if passes and rng.random() < 0.15 else int(rng.integers(0, len(loops) + 1)))
        for slot in slots(question.hardware)
    )
    return Candidate(spatial, tuple(loops), cuts)


def by_hand(question: Question, rng: np.random.Generator) -> Iterator[Candidate]:
    """One operand stationary at each level: its irrelevant loops innermost, the fullest unrolling, tiles as large as fit."""
    nest = question.nest
    fullest = min((unrolled(question, rng) for _ in range(20)), key=lambda s: math.prod(rest(question, s).values()))
    left = [(d, n) for d, n in rest(question, fullest).items() if n > 1]
    for tensor in nest.tensors:
        inside = [x for x in left if x[0] not in RELEVANT[tensor]]
        outside = [x for x in left if x[0] in RELEVANT[tensor]]
        for loops in ((*inside, *outside), (*outside, *inside)):
            for at in range(len(loops) + 1):
                cuts = tuple((slot, 0 if m == 0 else at) for m, slot in enumerate(slots(question.hardware)))
                yield Candidate(fullest, tuple(loops), cuts)
                yield Candidate(fullest, tuple(loops), tuple((slot, at) for slot in slots(question.hardware)))


def of_mapping(question: Question, mapping: Mapping) -> Candidate:
    """A mapping in parts."""
    spatial = tuple((x.axis, x.dim, x.extent) for x in mapping.loops if x.axis is not None)
    names = [memory.name for memory in question.hardware.memories]
    before = np.concatenate([[0], np.cumsum([x.axis is None for x in mapping.loops])])
    cuts: dict[tuple[int, str], int | None] = dict.fromkeys(slots(question.hardware))
    for level in mapping.levels[:-1]:
        for role, cut in zip(ROLES, level.cuts, strict=True):
            if cut is not None:
                cuts[names.index(level.name), role] = int(before[cut])
    loops = tuple((x.dim, x.extent) for x in mapping.loops if x.axis is None)
    return Candidate(spatial, loops, tuple(cuts.items()))


def changed(question: Question, candidate: Candidate, rng: np.random.Generator) -> Candidate:
    """One random change: a cut, the order, a factor, a loop split, a memory passed by, the unrolling."""
    loops, cuts = list(candidate.loops), list(candidate.cuts)
    kind = rng.integers(0, 7)
    if kind <= 1 and cuts:
        i = int(rng.integers(len(cuts)))
        slot, cut = cuts[i]
        if question.hardware.bypass and rng.random() < 0.15:
            cut = None if cut is not None else 0
        elif cut is not None:
            cut = int(np.clip(cut + rng.choice([-2, -1, 1, 2]), 0, len(loops)))
        cuts[i] = (slot, cut)
        return replace(candidate, cuts=tuple(cuts))
    if kind <= 3 and len(loops) > 1:
        i, j = rng.integers(len(loops), size=2)
        loops.insert(int(j), loops.pop(int(i)))
        return replace(candidate, loops=tuple(loops))
    if kind <= 5 and loops:
        d = loops[int(rng.integers(len(loops)))][0]
        own = [i for i, x in enumerate(loops) if x[0] == d]
        trips = rest(question, candidate.spatial)[d]
        if len(own) < MOST_LOOPS and rng.random() < 0.4:
            at = int(rng.integers(len(loops) + 1))
            loops.insert(at, (d, 1))
            own = [i for i, x in enumerate(loops) if x[0] == d]
        inside = 1
        chosen = int(rng.integers(len(own)))
        for number, i in enumerate(own):
            size = loops[i][1]
            if number == chosen:
                size = max(1, int(rng.choice([size - 1, size + 1, size * 2, size // 2, rng.integers(1, trips + 1)])))
            size = min(size, -(-trips // inside))
            loops[i] = (d, -(-trips // inside) if number == len(own) - 1 else size)
            inside *= loops[i][1]
        return replace(candidate, loops=tuple(loops))
    spatial = unrolled(question, rng)
    left, kept = rest(question, spatial), []
    done = dict.fromkeys(DIMS, 1)
    last = {d: i for i, (d, _) in enumerate(loops)}
    for i, (d, size) in enumerate(loops):
        size = -(-left[d] // done[d]) if i == last[d] else min(size, -(-left[d] // done[d]))
        done[d] *= size
        kept.append((d, size))
    kept += [(d, n) for d, n in left.items() if n > 1 and d not in last]
    return replace(candidate, spatial=spatial, loops=tuple(kept))


def tidy(candidate: Candidate) -> Candidate:
    """Without loops of one trip."""
    before = np.concatenate([[0], np.cumsum([n > 1 for _, n in candidate.loops])])
    cuts = tuple((s, None if c is None else int(before[min(c, len(candidate.loops))])) for s, c in candidate.cuts)
    return replace(candidate, loops=tuple(x for x in candidate.loops if x[1] > 1), cuts=cuts)


def climb(
    question: Question, candidate: Candidate, value: float, seconds: float, rng: np.random.Generator
) -> tuple[Candidate, float]:
    """Random changes, one to three at a time, kept where they are no worse."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        other = candidate
        for _ in range(int(rng.integers(1, 4))):
            other = changed(question, other, rng)
        other = tidy(other)
        new = question.value(other.mapping(question))
        if new <= value:
            candidate, value = other, new
    return candidate, value


def anneal(
    question: Question, candidate: Candidate, value: float, seconds: float, rng: np.random.Generator
) -> tuple[Candidate, float]:
    """Random changes, kept if no worse or, ever more rarely, a little worse (Kirkpatrick et al., 1983); the best."""
    begin = time.perf_counter()
    best = candidate, value
    while (spent := (time.perf_counter() - begin) / seconds) < 1.0:
        other = candidate
        for _ in range(int(rng.integers(1, 5))):
            other = changed(question, other, rng)
        other = tidy(other)
        new = question.value(other.mapping(question))
        heat = HEAT * (1.0 - spent) ** 2
        if new <= value or (math.isfinite(new) and rng.random() < math.exp(-math.log(new / value) / max(heat, 1e-9))):
            candidate, value = other, new
            if value < best[1]:
                best = candidate, value
    return best


def reordered(question: Question, candidate: Candidate) -> Iterator[Candidate]:
    """All orders of the loops between two cuts next to each other, of each such part alone, where they are few."""
    cuts = sorted({0, len(candidate.loops), *(cut for _, cut in candidate.cuts if cut is not None)})
    for low, high in itertools.pairwise(cuts):
        part = candidate.loops[low:high]
        if 1 < len(part) <= MOST_ORDERED:
            for order in itertools.permutations(part):
                yield replace(candidate, loops=(*candidate.loops[:low], *order, *candidate.loops[high:]))


def attack(question: Question, ours: Mapping, seconds: float, seed: int) -> tuple[float, str, Mapping]:
    """The best value that anything finds in the time, what found it, and its mapping."""
    rng = np.random.default_rng(seed)
    found: list[tuple[float, str, Candidate]] = []
    end = time.perf_counter() + seconds * 0.4
    for hand in by_hand(question, rng):
        if time.perf_counter() > end:
            break
        found.append((question.value(tidy(hand).mapping(question)), "hand", tidy(hand)))
    while time.perf_counter() < end:
        candidate = tidy(in_order(question, unrolled(question, rng), rng))
        found.append((question.value(candidate.mapping(question)), "random", candidate))
    own = of_mapping(question, ours)
    starts = sorted((x for x in found if math.isfinite(x[0])), key=lambda x: x[0])[:2]
    starts += [(question.value(own.mapping(question)), "own", own)]
    each = seconds * 0.6 / (len(starts) + 1)
    ends = list(starts)
    for value, name, candidate in starts:
        better, reached = climb(question, candidate, value, each / 2.0, rng)
        cooled, cold = anneal(question, better, reached, each / 2.0, rng)
        ends += [(reached, f"climbing from {name}", better), (cold, f"annealing from {name}", cooled)]
    value, name, candidate = min(ends, key=lambda x: x[0])
    end = time.perf_counter() + each
    for other in reordered(question, candidate):
        new = question.value(other.mapping(question))
        if new < value:
            value, name, candidate = new, f"order after {name}", other
        if time.perf_counter() > end:
            break
    again, reached = climb(question, candidate, value, max(end - time.perf_counter(), 0.0), rng)
    if reached < value:
        value, name, candidate = reached, f"climbing after {name}", again
    return value, name, candidate.mapping(question)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hardware")
    parser.add_argument("network")
    parser.add_argument("--plan", default="w8a8e8")
    parser.add_argument("--mode", default="training", choices=("training", "inference"))
    parser.add_argument("--objective", default="edp", choices=("edp", "energy", "latency"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of all layers together")
    parser.add_argument("--layers", type=int, default=0, help="at most so many distinct nests, evenly over the network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2, help="attacks with numbers of their own, which share the seconds")
    parser.add_argument("--mappings", action="store_true", help="print the mappings that beat ours")
    args = parser.parse_args()
    hardware, network = dse.load_hardware(args.hardware), dse.load_workload(args.network)
    arrays = hardware_arrays(hardware, None)
    plan = dse.Plan.parse(args.plan, network)
    work = network_jobs(network, hardware, [plan], args.mode)
    one_order = replace(work.jobs, gathered=np.full(len(work.jobs.nest), -1, np.int64))
    work = replace(work, jobs=one_order)
    costs = best_jobs(hardware, arrays, work.jobs, args.objective, searched=searching())
    runs = {run.job: run for run in reversed(layer_runs(network, work)) if not costs.limit[0, run.job]}
    jobs = [job for job in sorted(runs) if work.jobs.runs[job] == 1]
    if args.layers:
        jobs = [jobs[i] for i in sorted({int(x) for x in np.linspace(0, len(jobs) - 1, min(args.layers, len(jobs)))})]
    layers = []
    for number, job in enumerate(jobs):
        question = Question(hardware, arrays, work.jobs, job, args.objective)
        energy, cycles = float(costs.energy_pj[0, job]), float(costs.cycles[0, job])
        value = {"edp": energy * cycles, "energy": energy, "latency": cycles}[args.objective]
        ours = mapping_of(hardware, arrays, work.jobs, costs, job)
        share = args.seconds / len(jobs) / args.seeds
        tries = [attack(question, ours, share, args.seed + number + 1000 * k) for k in range(args.seeds)]
        least, name, mapping = min(tries, key=lambda x: x[0])
        ratio = value / least
        layers.append({"layer": runs[job].name, "ratio": round(ratio, 6), "by": name if ratio > 1 else ""})
        print(f"{runs[job].name:40s} {ratio:9.5f}  {name}", flush=True)
        if args.mappings and ratio > 1.0005:
            print(f"    ours   {format_mapping(ours)}\n    theirs {format_mapping(mapping)}")
    worst = max((layer["ratio"] for layer in layers), default=1.0)
    print(json.dumps({"worst_ratio": worst, "layers": layers}))


if __name__ == "__main__":
    main()
