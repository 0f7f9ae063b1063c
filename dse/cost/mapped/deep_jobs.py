"""Cost of jobs on hardware where an operand lies in several private or several shared memories.

There the best mapping is searched for each (design, job) at its own prices (:mod:`dse.mapping.best.deep.search`), and the mappings
found are counted and priced loop by loop like those of a user (:mod:`dse.cost.mapped.mapping_costs`): what is reported is the exact
cost of a mapping that exists. It is kept on disk (:mod:`dse.cost.jobs.answers`).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dse.cost.jobs.answers import Answer, Priced, design_key, job_keys, recalled, remember
from dse.cost.jobs.formats import Jobs, inserted_zeros, kept_bits, mac_pj, partial_bits, unusable, waiting
from dse.cost.mapped.searched import priced, worth
from dse.cost.mapped.table_jobs import LEAK_COMPONENT, MAC_COMPONENT, JobCosts, array_shape, mapper_options, restricted
from dse.hardware.arrays import HardwareArrays
from dse.hardware.model import Hardware
from dse.hardware.pe import Mode, pe_mode
from dse.mapping.best.deep.search import DeepPoint, best_deep
from dse.names import ROLES


def deep_cost_jobs(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, objective: str = "edp") -> JobCosts:
    """Cost of every job on every design under its best mapping; as :func:`dse.cost.mapped.table_jobs.cost_jobs`."""
    designs, count, memories = len(arrays), len(jobs.nest), len(hardware.memories)
    names = tuple(memory.name for memory in hardware.memories)
    components = (MAC_COMPONENT, *names, LEAK_COMPONENT)
    costs = JobCosts(
        energy_pj=np.full((designs, count), np.inf),
        cycles=np.full((designs, count), np.inf),
        components=components,
        components_pj=np.zeros((designs, count, len(components))),
        bound=np.full((designs, count), -1, np.int64),
        limit=np.full((designs, count), "", dtype=object),
        traffic_bits=np.zeros((designs, count, memories)),
        candidate=np.full((designs, count), -1, np.int64),
        left=np.ones((designs, count), np.int64),
        nest=np.tile(jobs.nest, (designs, 1)),
    )
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    for u in range(count):
        costs.limit[:, u] = unusable(hardware, jobs, np.array([u]))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for d in range(designs):
            wanted = [u for u in range(count) if not costs.limit[d, u]]
            for u, answer in zip(
                wanted, _answers(hardware, arrays.rows(d, d + 1), jobs, wanted, mode, objective, pool), strict=True
            ):
                if isinstance(answer, str):
                    costs.limit[d, u] = answer
                    continue
                assert answer is not None
                costs.energy_pj[d, u], costs.cycles[d, u] = answer.energy_pj, answer.cycles
                costs.components_pj[d, u], costs.traffic_bits[d, u] = answer.components_pj, answer.traffic_bits
                costs.bound[d, u] = answer.bound
                costs.mappings[d, u] = answer.mapping
    return costs


def _answers(
    hardware: Hardware,
    one: HardwareArrays,
    jobs: Jobs,
    wanted: list[int],
    mode: Mode,
    objective: str,
    pool: ThreadPoolExecutor,
) -> list[Answer]:
    """The best mappings of some jobs on one design, priced, or what no mapping fits into."""
    names = job_keys(jobs, wanted)
    known = recalled(
        design_key(hardware, one, 0, objective, "deep"),
        names,
        lambda place, answer: priced(answer.mapping, hardware, one, jobs, wanted[place]),
    )
    new = {name: job for name, job in zip(names, wanted, strict=True) if name not in known.found}
    found = pool.map(lambda job: _best(hardware, one, jobs, job, mode, objective), new.values())
    remember(known, dict(zip(new, found, strict=True)))
    return [known.found[name] for name in names]


def _best(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, job: int, mode: Mode, objective: str) -> Priced | str:
    """A job's best mapping on one design, or what no mapping fits into."""
    nest = jobs.nests[int(jobs.nest[job])]
    options = mapper_options(hardware, nest)
    shape = restricted(array_shape(hardware, arrays.axis_size[0], nest.pass_), options)
    point = deep_point(hardware, arrays, jobs, job, mode)
    rules = (objective, hardware.overlap, options.stationary, options.sizes)
    best: Priced | None = None
    for mapping in best_deep(nest, shape, point, *rules):
        found = priced(mapping, hardware, arrays, jobs, job)
        if found is None:
            continue
        if best is None or worth(found.energy_pj, found.cycles, objective) < worth(
            best.energy_pj, best.cycles, objective
        ):
            best = found
    return best or f"no mapping of a {nest.pass_} pass fits into the memories of {hardware.name}"


def deep_point(hardware: Hardware, arrays: HardwareArrays, jobs: Jobs, job: int, mode: Mode) -> DeepPoint:
    """Prices of a job on the first design of some arrays."""
    nest = jobs.nests[int(jobs.nest[job])]
    held = mapper_options(hardware, nest).held
    one = np.array([job])
    stored = jobs.stored_bits[job]
    partial = float(partial_bits(hardware, jobs)[job])
    moved = np.tile([stored[0], stored[1], partial], (len(hardware.memories), 1))
    moved[-1, :2] = jobs.dram_bits[job]
    read, write = arrays.read_pj_per_bit[0], arrays.write_pj_per_bit[0]
    width = arrays.bandwidth_bits_per_cycle[0] * arrays.instances[0]
    axes = {axis.name for axis in hardware.axes}
    converts = [axes <= set(memory.shared_along) for memory in hardware.memories[:-1]]
    sums = [m for m, memory in enumerate(hardware.memories[:-1]) if "accumulator" in memory.roles]
    outside = [m in sums and any(converts[n] for n in sums if n < m) for m in range(len(converts))]
    lanes = mode.lanes[job].astype(np.float64)
    kept = float(jobs.kept[job])
    run = inserted_zeros(hardware, nest) * kept
    macs = float(np.prod(np.array(nest.dims, np.float64)))
    return DeepPoint(
        read_pj=read[:, None] * moved,
        write_pj=write[:, None] * moved,
        element_cycles=moved / width[:, None],
        final_read_pj=read * stored[2],
        final_write_pj=write * stored[2],
        final_cycles=stored[2] / width,
        converts=np.array(converts, np.int64),
        kept_bits=np.array(
            [[float(kept_bits(hardware, m, role, jobs, one)[0]) for role in ROLES] for m in range(len(converts))]
        ).reshape(len(converts), 3),
        finished=np.where(outside, min(stored[2] / partial, 1.0), 1.0),
        capacity_bits=arrays.usable_bits[0, :-1].copy(),
        step_cycles=waiting(hardware.pe, jobs, one, mode)[0] * mode.step_cycles[job] * run,
        lanes=lanes,
        required=np.array([[int((m.name, role) in held) for role in ROLES] for m in hardware.memories[:-1]]).reshape(
            -1, 3
        ),
        mac_share=np.array([kept, kept, float((jobs.shares[job] / lanes).sum()) * kept]),
        base_pj=float(mac_pj(hardware, arrays.node_nm[:1], jobs, one)[0, 0] * arrays.element_scale[0]) * macs * run,
        leak_pj_per_cycle=float(arrays.leakage_w[0] / arrays.clock_hz[0] * 1e12),
    )
