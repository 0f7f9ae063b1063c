"""Parallel plans as arrays: one entry per plan, so that any number of them is costed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from dse.system.model import RECOMPUTE, Parallel
from dse.system.plans.collectives import Group
from dse.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Plans:
    """Attributes of :class:`dse.system.model.Parallel`, each (plans,); ``steps`` are micro batches of a data-parallel group."""

    data: Floats
    tensor: Floats
    pipeline: Floats
    expert: Floats
    context: Floats
    micro_batch: Floats
    interleave: Floats
    zero: Floats
    recompute: Floats
    sequence_parallel: Bools
    steps: Floats
    offload: Bools

    def is_recompute(self, policy: str) -> Bools:
        return np.asarray(self.recompute == RECOMPUTE.index(policy))

    @property
    def devices(self) -> Floats:
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def whole_share(self) -> Floats:
        """Share of a tensor that is whole under tensor parallelism: with sequence parallelism its tokens are cut."""
        return np.where(self.sequence_parallel, 1.0 / self.tensor, 1.0)

    @property
    def samples(self) -> Floats:
        """Share of a sample's tokens times samples that one device works on in a pass."""
        return self.micro_batch / self.context

    @property
    def tensor_group(self) -> Group:
        return Group(self.tensor, np.ones_like(self.tensor))

    @property
    def context_group(self) -> Group:
        return Group(self.context, self.tensor)

    @property
    def data_group(self) -> Group:
        """Devices with the same weights: data and context parallel ones."""
        return Group(self.data * self.context, self.tensor)

    @property
    def expert_group(self) -> Group:
        return Group(self.expert, np.ones_like(self.expert))

    @property
    def expert_data_group(self) -> Group:
        """Devices with the same experts."""
        return Group(self.data * self.context * self.tensor / self.expert, self.expert)

    @property
    def stage_stride(self) -> Floats:
        return self.data * self.context * self.tensor

    def blocks(self, count: int) -> Floats:
        """Blocks of the fullest stage."""
        return np.ceil(count / self.pipeline)

    def at(self, index: Ints) -> Plans:
        return Plans(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def parallel(self, index: int) -> Parallel:
        """One of the plans as a record."""
        return Parallel(
            data=int(self.data[index]),
            tensor=int(self.tensor[index]),
            pipeline=int(self.pipeline[index]),
            expert=int(self.expert[index]),
            context=int(self.context[index]),
            micro_batch=int(self.micro_batch[index]),
            interleave=int(self.interleave[index]),
            zero=int(self.zero[index]),
            recompute=RECOMPUTE[int(self.recompute[index])],
            sequence_parallel=bool(self.sequence_parallel[index]),
            offload=bool(self.offload[index]),
        )


def plans_of(parallels: Sequence[Parallel], steps: Sequence[int] | int) -> Plans:
    """Records as arrays.

    Parameters
    ----------
    steps
        Micro batches of each data-parallel group in a step, one number or one per plan.
    """

    def column(name: str) -> Floats:
        return np.array([float(getattr(item, name)) for item in parallels])

    return Plans(
        data=column("data"),
        tensor=column("tensor"),
        pipeline=column("pipeline"),
        expert=column("expert"),
        context=column("context"),
        micro_batch=column("micro_batch"),
        interleave=column("interleave"),
        zero=column("zero"),
        recompute=np.array([float(RECOMPUTE.index(item.recompute)) for item in parallels]),
        sequence_parallel=np.array([item.sequence_parallel for item in parallels], dtype=np.bool_),
        offload=np.array([item.offload for item in parallels], dtype=np.bool_),
        steps=np.broadcast_to(np.array(steps, dtype=np.float64), (len(parallels),)).copy(),
    )
