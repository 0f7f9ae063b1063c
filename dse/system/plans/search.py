"""All parallel plans of a network on so many devices, and the best that fits.

There are few enough to try every one (tens of thousands in seconds), so that the best one is proven: within the model no listed
plan is better. What is listed follows from the network: tensor parallelism divides the heads, a pipeline has at most as many stages
as there are blocks, context parallelism divides the tokens, experts their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dse.errors import InputError, NothingFeasible
from dse.system.model import Parallel, System
from dse.system.network.rows import Rows
from dse.system.plans.arrays import Plans, plans_of
from dse.system.plans.memory import footprint
from dse.system.plans.times import Communication, Times, step_times
from dse.types import Floats

#: Most plans that are listed.
MOST_PLANS = 2_000_000
#: Pieces of a pipeline per device that are tried.
MOST_PIECES = 16
#: Samples of a micro batch, sharding (2 takes the time of 1 in the model and is left out), and recomputation that are tried.
MICRO_BATCHES = (1, 2, 4, 8, 16)
SHARDS = (0, 1, 3)
POLICIES = ("none", "selective", "full")


@dataclass(frozen=True)
class Found:
    """The best plan, and how it stands among all.

    Attributes
    ----------
    parallel, steps
        The plan, and its micro batches per step.
    listed, fitting
        Plans that were tried, and those that the memory holds.
    step_s
        Its time.
    """

    parallel: Parallel
    steps: int
    step_s: float
    listed: int
    fitting: int


def divisors(number: int) -> list[int]:
    """All divisors of a number, rising."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})


def tokens_of(rows: Rows) -> int:
    """Tokens of a sample: positions of the tensor that passes between blocks."""
    return max((row.layer.N for row in rows.rows if row.layer.kind == "fc" and not row.layer.experts), default=1)


def enumerate_plans(
    rows: Rows,
    devices: int,
    micro_batches: Sequence[int] = MICRO_BATCHES,
    zero: Sequence[int] = SHARDS,
    recompute: Sequence[str] = POLICIES,
    sequence_parallel: bool | None = None,
    most_tensor: int = 0,
) -> list[Parallel]:
    """All parallel plans of a network on so many devices.

    Parameters
    ----------
    sequence_parallel
        Whether tensor parallelism cuts whole tensors by tokens; None: where the network's layers allow it.
    most_tensor
        Largest tensor-parallel group; 0: as the heads allow.
    """
    if devices < 1:
        raise InputError("devices", [f"expected an integer >= 1, got {devices}"])
    blocks, tokens = rows.blocks.count, tokens_of(rows)
    experts = max((row.layer.experts for row in rows.rows), default=0)
    by_tokens = rows.token_wise if sequence_parallel is None else sequence_parallel
    found = []
    heads = rows.heads or min(row.layer.K for row in rows.rows if row.layer.has_macs)
    cuttable = any(row.cut.dim in ("K", "G") for row in rows.rows if row.layer.has_macs)
    for tensor in divisors(devices):
        if tensor > 1 and (heads % tensor or not cuttable or (most_tensor and tensor > most_tensor)):
            continue
        for pipeline in divisors(devices // tensor):
            if pipeline > blocks:
                break
            for context in divisors(devices // (tensor * pipeline)):
                if context > 1 and (tokens % context or not rows.token_wise):
                    continue
                data = devices // (tensor * pipeline * context)
                pieces = [1]
                if pipeline > 1:
                    pieces += [v for v in divisors(-(-blocks // pipeline)) if 1 < v <= MOST_PIECES]
                spread = [e for e in divisors(data * context * tensor) if experts % e == 0] if experts else [1]
                for expert, piece, size, stage, policy in product(spread, pieces, micro_batches, zero, recompute):
                    if (stage and data * context == 1) or (stage == 3 and pipeline > 1):
                        continue
                    found.append(
                        Parallel(
                            data,
                            tensor,
                            pipeline,
                            expert,
                            context,
                            size,
                            piece,
                            stage,
                            policy,
                            by_tokens and tensor > 1,
                        )
                    )
                if len(found) > MOST_PLANS:
                    raise InputError("devices", [f"more than {MOST_PLANS:,} plans; give fewer choices"])
    return found


def fitting_steps(plans: Sequence[Parallel], batch: int) -> tuple[list[Parallel], list[int]]:
    """Plans whose data-parallel groups share a batch in whole micro batches, with how many each."""
    kept = [item for item in plans if batch % (item.data * item.micro_batch) == 0]
    kept = [
        item for item in kept if item.interleave == 1 or (batch // (item.data * item.micro_batch)) % item.pipeline == 0
    ]
    return kept, [batch // (item.data * item.micro_batch) for item in kept]


def held_bytes(rows: Rows, plans: Plans, system: System) -> Floats:
    """(plans,) bytes on the fullest device."""
    return np.asarray(sum(footprint(rows, plans, system.execution).values()))


def best_plan(
    rows: Rows,
    system: System,
    devices: int,
    batch: int,
    communication: Communication | None = None,
    listed: Sequence[Parallel] | None = None,
) -> tuple[Found, Times]:
    """The plan with the shortest step of ``batch`` samples among all that fit the memory.

    Raises
    ------
    InputError
        No plan shares the batch in whole micro batches.
    NothingFeasible
        No plan fits; the nearest one and its shortfall are named.
    """
    every = enumerate_plans(rows, devices) if listed is None else list(listed)
    kept, steps = fitting_steps(every, batch)
    if not kept:
        raise InputError(
            "devices", [f"no parallel plan on {devices} devices shares a batch of {batch} in whole micro batches"]
        )
    plans = plans_of(kept, steps)
    held = held_bytes(rows, plans, system)
    size = system.device.memory_bytes
    fits = held <= size
    if not fits.any():
        near = int(held.argmin())
        raise NothingFeasible(
            f"{rows.network.name} on {devices} devices of {system.name}",
            [memory_shortfall(kept[near], float(held[near]), size)],
        )
    index = np.flatnonzero(fits)
    times = step_times(rows, plans.at(index), system, communication or Communication())
    best = int(times.step.argmin())
    at = int(index[best])
    found = Found(kept[at], steps[at], float(times.step[best]), len(kept), int(fits.sum()))
    return found, Times(*(part[best : best + 1] for part in times))


def memory_shortfall(parallel: Parallel, held: float, size: float, what: str = "device") -> str:
    """That a device (or its host) holds more than its memory, and by how much."""
    return (
        f"memory: a {what} of plan {parallel.label} holds {held / 1e9:.2f} of {size / 1e9:.2f} GB; "
        f"{(held - size) / 1e9:.2f} GB are missing"
    )
