"""A system of accelerators and a parallel plan, as records.

Devices are numbered so that tensor parallel groups lie closest together, then context, data and pipeline groups: a group of ``n``
devices with a stride of ``s`` has ``min(n, D / s)`` members inside a level of ``D`` devices. Experts are spread over the devices
of the tensor, context and data groups, closest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dse.errors import InputError
from dse.showing import one_line
from dse.units import format_value
from dse.yaml_input import suggest

#: What is computed again on the way back: nothing; what lies between two products of activations (scores and softmax);
#: whole blocks, of which only the input is kept.
RECOMPUTE = ("none", "selective", "full")
ATTENTION = ("fused", "unfused")
#: Shards of ZeRO (Rajbhandari et al., SC 2020): nothing, optimizer states, also gradients, also weights (FSDP).
ZERO = (0, 1, 2, 3)


@dataclass(frozen=True)
class Device:
    """One accelerator of a system.

    Attributes
    ----------
    macs_per_s, peak_macs_per_s
        By element width in bits, such as ``{16: 156e12, 8: 312e12}``, what products of that width reach relative to the others, and
        the dense peak; a product runs at the rate of the narrowest width that holds its wider operand.
    memory_bytes, memory_bytes_per_s
        Size and peak bandwidth of its memory.
    product_efficiency
        Share of the peak that large products reach; the small ones lose more by tiles (:mod:`dse.system.plans.times`).
    memory_efficiency
        Share of the bandwidth that work without MACs reaches.
    attention_efficiency
        Rate of fused attention as a share of that of other products.
    launch_s
        Time from one kernel to the next where the kernels are shorter: a step cannot run faster than its host issues it.
    cores
        Independent cores over which a product's tiles are spread (streaming multiprocessors, tensor cores of a TPU).
    tile
        Rows and columns of results that a core computes at a time; 1 where a mapping has counted that already.
    power_w
        Power of the board at full load.
    hardware
        A shipped hardware model whose mapped cycles and energies replace the rates; "" for none.
    """

    name: str
    macs_per_s: dict[int, float]
    peak_macs_per_s: dict[int, float]
    memory_bytes: float
    memory_bytes_per_s: float
    product_efficiency: float = 1.0
    memory_efficiency: float = 1.0
    attention_efficiency: float = 1.0
    cores: int = 1
    tile: int = 128
    power_w: float = 0.0
    hardware: str = ""
    source: str = ""

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class Link:
    """One level of links.

    Attributes
    ----------
    devices
        Devices that this level joins (8 of a node; 0: all).
    bytes_per_s
        Peak per device and direction.
    latency_s
        Of one hop of a collective.
    efficiency
        Measured (bytes of an all-reduce, share of the peak), rising; below the first the time stays what it is there.
    pj_per_bit
        Energy of a bit that leaves a device over this level.
    """

    name: str
    devices: int
    bytes_per_s: float
    latency_s: float
    efficiency: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    topology: str = "switch"
    pj_per_bit: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class Host:
    """What a host has for each of its devices.

    Attributes
    ----------
    bytes_per_s
        Peak between a device and its host, one direction.
    memory_bytes, memory_bytes_per_s
        Size and peak bandwidth of the host's memory, a device's share.
    """

    bytes_per_s: float
    memory_bytes: float
    memory_bytes_per_s: float
    source: str = ""


@dataclass(frozen=True)
class Execution:
    """How the software of a system runs a step.

    Attributes
    ----------
    attention
        ``fused``: scores and softmax never reach memory and are computed again on the way back. ``unfused``: they do.
    causal_skip
        Whether fused attention leaves out the products that a causal mask makes zero.
    fused_vector
        Whether element-wise layers run with their neighbour (one pass over memory for a chain of them).
    data_overlap
        Share of the backward time behind which the collectives of data parallelism hide; 0: they follow it.
    shard_overlap
        Share of the compute time behind which gathering of sharded weights (ZeRO 3) hides.
    pipeline_overlap
        Whether sends between pipeline stages hide behind compute.
    tensor_overlap
        Share of tensor-parallel collectives that hides behind products.
    dropout
        Whether masks of dropout, one byte per element, are drawn and kept behind softmax and before every residual sum.
    issue_s
        Time in which the host issues one pass of a layer; a micro batch takes no less than all its passes.
    micro_batch_s
        Time of the host for the ends of a micro batch: its data and its loss.
    """

    attention: str = "fused"
    causal_skip: bool = True
    fused_vector: bool = False
    data_overlap: float = 0.0
    shard_overlap: float = 1.0
    pipeline_overlap: bool = True
    tensor_overlap: float = 0.0
    dropout: bool = False
    issue_s: float = 0.0
    micro_batch_s: float = 0.0


@dataclass(frozen=True)
class System:
    """Several accelerators: one kind of device, levels of links from the inside out, and how software runs them."""

    name: str
    description: str
    device: Device
    links: tuple[Link, ...]
    execution: Execution = field(default_factory=Execution)
    most_devices: int = 0
    source: str = ""
    path: str = ""
    host: Host | None = None

    def __repr__(self) -> str:
        links = [f"{link.name} {format_value(link.bytes_per_s / 1e9)} GB/s" for link in self.links]
        return one_line("System", self.name, [self.device.name, *links])

    def with_execution(self, **changes: Any) -> System:
        """The same system under other software; see :class:`Execution`."""
        return replace(self, execution=replace(self.execution, **changes))


#: Letters of a parallel plan on the command line, with the attribute that each stands for.
LETTERS = {
    "d": "data", "t": "tensor", "p": "pipeline", "e": "expert", "c": "context", "v": "interleave", "z": "zero",
    "s": "sequence_parallel", "b": "micro_batch", "o": "offload",
}  # fmt: skip
#: Of them, those that are on or off.
FLAGS = ("sequence_parallel", "offload")


@dataclass(frozen=True)
class Parallel:
    """How a network is spread over devices.

    Attributes
    ----------
    data, tensor, pipeline, context
        Degrees; their product is the number of devices.
    expert
        Devices over which the experts of a mixture are spread; it divides ``data * context * tensor``.
    micro_batch
        Samples per pass of one data-parallel group.
    interleave
        Pieces of the pipeline per device (1: plain 1F1B).
    zero
        What is sharded over data-parallel devices; see :data:`ZERO`.
    recompute
        One of :data:`RECOMPUTE`.
    sequence_parallel
        Tensors that tensor parallelism leaves whole are cut by tokens (Korthikanti et al., arXiv 2205.05198).
    offload
        The host holds masters and optimizer states and updates them: gradients go to it, weights come back (Ren et al.,
        ZeRO-Offload, arXiv 2101.06840).
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    context: int = 1
    micro_batch: int = 1
    interleave: int = 1
    zero: int = 0
    recompute: str = "none"
    sequence_parallel: bool = False
    offload: bool = False

    def __post_init__(self) -> None:
        wrong = []
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("zero", "recompute", *FLAGS):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**31:
                wrong.append(f"{item.name}: expected an integer from 1 to {2**31:,}, got {value!r}")
        if self.zero not in ZERO:
            wrong.append(f"zero: expected one of 0, 1, 2, 3, got {self.zero!r}")
        if self.recompute not in RECOMPUTE:
            wrong.append(f"recompute: '{self.recompute}' is unknown{suggest(str(self.recompute), RECOMPUTE)}")
        if not wrong and (self.data * self.context * self.tensor) % self.expert:
            wrong.append(
                f"expert: {self.expert} does not divide the {self.data * self.context * self.tensor} devices of data, "
                "context and tensor parallelism"
            )
        if wrong:
            raise InputError("parallel plan", wrong)

    @property
    def devices(self) -> int:
        """Devices that the plan takes."""
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def label(self) -> str:
        """The plan as the command line takes it, without what is 1: ``d8t4p2``."""
        parts = [
            f"{letter}{int(getattr(self, name))}"
            for letter, name in LETTERS.items()
            if int(getattr(self, name)) > (name != "zero" and name not in FLAGS)
        ]
        return "".join(parts) or "d1"

    @classmethod
    def parse(cls, text: str, **more: Any) -> Parallel:
        """A plan such as ``d8t4p2``: letters of :data:`LETTERS`, each with a number.

        Raises
        ------
        InputError
            Another letter, a letter twice, a missing number, and what the plan itself refuses.
        """
        found = re.findall(r"([A-Za-z])(\d+)", text)
        if not found or "".join(a + b for a, b in found) != text:
            letters = ", ".join(f"{letter} {name.replace('_', ' ')}" for letter, name in LETTERS.items())
            raise InputError("--parallel", [f"'{text}' is no plan such as d8t4p2; each letter has a number: {letters}"])
        names = [letter for letter, _ in found]
        wrong = [f"'{letter}' is no letter of a plan" for letter in names if letter not in LETTERS]
        wrong += [f"'{letter}' stands twice" for letter in dict.fromkeys(names) if names.count(letter) > 1]
        if wrong:
            raise InputError("--parallel", wrong)
        given: dict[str, Any] = {LETTERS[letter]: int(number[:12]) for letter, number in found}
        given |= {name: bool(given[name]) for name in FLAGS if name in given}
        return cls(**{**given, **more})
