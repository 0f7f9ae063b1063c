"""Jobs: the distinct (loop nest, pass, operand formats) whose cost has to be known, and what their formats mean on a hardware.

A network repeats shapes and a search repeats widths, so the cost of everything is a gather from a small matrix ``(design, job)``
(:mod:`dse.cost.mapped.table_jobs`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dse.hardware.elements import element_family
from dse.hardware.model import ARITHMETIC, Hardware, ProcessingElement
from dse.hardware.pe import Mode, mac_energy_pj, pe_mode, waiting_shares
from dse.hardware.takes import element_in_words, multiplies, operands_in_words
from dse.mapping.nest import Nest
from dse.names import ROLES
from dse.precision.formats.properties import Format, arithmetic, element_exponent_bits, multiplier_bits, parse_format
from dse.types import Floats, Ints

#: Formats that a message names where an element takes them, and how many of them.
_EXAMPLES = (
    *("int16", "int8", "int4", "int2", "mxint8", "fp32", "tf32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2"),
    *("mxfp8_e4m3", "mxfp4_e2m1", "mls_e2m4", "mls_e2m1"),
)
MOST_EXAMPLES = 7


@dataclass(frozen=True)
class Jobs:
    """Distinct costs to compute; U jobs with Q pairs of widths each (1, but for block-wise precision).

    Attributes
    ----------
    nests
        The distinct loop nests with their passes.
    nest
        (U,) index into ``nests``.
    stored_bits
        (U, 3) bits per element of the operand in the weight role, in the activation role, and of the finished result; of a
        block-wise tensor the mean over its blocks, with their map.
    multiplier_bits
        (U, Q, 2) integer widths that the multiplier sees in the two roles.
    arithmetic, exponent_bits
        (U, Q, 2) place of what multiplies the elements in :data:`dse.hardware.model.ARITHMETIC`, and the exponent that they carry.
    shares
        (U, Q) share of the MACs that run at each pair; rows sum to 1.
    run_elements
        (U,) elements along the reduction that surely have one width: of a block of the map; 0 without a map.
    kept
        (U,) share of the MACs that run: below 1 where the hardware leaves out what a causal mask makes zero. Their steps, energy
        and accesses next to the MACs shrink by it; tiles and their traffic stay those of the whole product.
    accumulator_bits
        (U,) width of a partial sum that the plan asks for; 0: the hardware's own. See :func:`partial_bits`.
    dram_bits
        (U, 2) bits per element of the operands in the two roles where they lie in DRAM: other than on the chip where what is read
        is a result in a format of its own, which is converted at the memory port.
    runs
        (U,) how often the job runs with the same weights, once after the other: time steps of a recurrent layer; else 1.
    beside_bits
        (U,) weights of other layers that run in turns with the job and stay on the chip beside its own
        (:mod:`dse.cost.mapped.resident`).
    gathered
        (U,) index into ``nests`` of the same job in its other order (:mod:`dse.cost.mapped.best_jobs`); -1: it has one order.
    """

    nests: tuple[Nest, ...]
    nest: Ints
    stored_bits: Floats
    multiplier_bits: Ints
    arithmetic: Ints
    exponent_bits: Ints
    shares: Floats
    run_elements: Ints
    kept: Floats
    accumulator_bits: Floats
    dram_bits: Floats
    runs: Floats
    beside_bits: Floats
    gathered: Ints


def partial_bits(hardware: Hardware, jobs: Jobs) -> Floats:
    """(U,) bits of a partial sum in registers, buffers and traffic: the plan's accumulator, else the hardware's."""
    asked = jobs.accumulator_bits
    return np.where(asked > 0, asked, float(hardware.pe.accumulator_bits)).astype(np.float64)


def kept_bits(hardware: Hardware, memory: int, role: str, jobs: Jobs, wanted: Ints) -> Floats:
    """(wanted,) bits that an element of a role takes in a memory; a register holds one element per word.

    Narrower sums leave bits of their register unused; wider ones than the hardware's have registers of as many words, as wide as
    the plan asks.
    """
    entry = hardware.memories[memory]
    if role == "accumulator":
        if entry.kind == "register":
            return np.full(len(wanted), float(hardware.pe.accumulator_bits))
        return np.asarray(partial_bits(hardware, jobs)[wanted])
    word = float(min(hardware.pe.max_weight_bits, hardware.pe.max_activation_bits)) if entry.kind == "register" else 0.0
    return np.asarray(np.maximum(jobs.stored_bits[wanted, ROLES.index(role)], word))


def unsupported(hardware: Hardware, jobs: Jobs) -> npt.NDArray[np.bool_]:
    """(U, Q) pairs of widths that a job needs and the processing element lacks."""
    mode = pe_mode(hardware.pe, jobs.multiplier_bits[..., 0], jobs.multiplier_bits[..., 1])
    takes = multiplies(hardware.pe, jobs.multiplier_bits, jobs.arithmetic, jobs.exponent_bits)
    return np.asarray((jobs.shares > 0) & ~(mode.supported & takes))


def unusable(hardware: Hardware, jobs: Jobs, wanted: Ints) -> str:
    """Which operands of some jobs the processing element does not multiply, one sentence; "" if it multiplies all."""
    wrong = unsupported(hardware, jobs)[wanted]
    if not wrong.any():
        return ""
    u, q = np.argwhere(wrong)[0]
    job = wanted[u]
    asked = operands_in_words(jobs.multiplier_bits[job, q], jobs.arithmetic[job, q], jobs.exponent_bits[job, q])
    takes = ", ".join([name for name in _EXAMPLES if takes_format(hardware.pe, parse_format(name))][:MOST_EXAMPLES])
    return (
        f"processing element: {hardware.name} does not multiply {asked}; its {hardware.pe.family} elements multiply "
        f"{element_in_words(hardware.pe)}" + (f" (such as {takes})" if takes else "")
    )


def takes_format(pe: ProcessingElement, form: Format) -> bool:
    """Whether an element multiplies two operands of a format."""
    bits = multiplier_bits(form)
    kind = ARITHMETIC.index(arithmetic(form))
    each = (np.full(2, bits), np.full(2, kind), np.full(2, element_exponent_bits(form)))
    return bool(pe_mode(pe, bits, bits).supported & multiplies(pe, *each))


def inserted_zeros(hardware: Hardware, nest: Nest) -> float:
    """How often a backward pass takes its steps and MACs: a stride's zeros are multiplied where nothing skips them."""
    return 1.0 if hardware.zero_skip or nest.pass_ == "forward" else float(nest.stride[0] * nest.stride[1])


def mac_pj(hardware: Hardware, node_nm: Floats, jobs: Jobs, wanted: Ints) -> Floats:
    """(designs, jobs) energy of a MAC, the mean over a job's pairs of widths."""
    pairs = jobs.shares[wanted]
    each = mac_energy_pj(
        hardware.pe,
        jobs.multiplier_bits[wanted, :, 0][None],
        jobs.multiplier_bits[wanted, :, 1][None],
        partial_bits(hardware, jobs)[None, wanted, None],
        node_nm[:, None, None],
    )
    return np.asarray(np.where(pairs > 0, each * pairs, 0.0).sum(axis=-1))


def waiting(pe: ProcessingElement, jobs: Jobs, wanted: Ints, mode: Mode) -> Floats:
    """(jobs, pairs) share of the steps that take as long as each pair of widths does.

    A bit-serial element adds ``pe.block`` products in one tree, so that all wait for the slowest: of n independent blocks of the
    map among them the slowest decides. The other families take blocks of one width pair together, which an order of the blocks
    can always give them.
    """
    shares = jobs.shares[wanted]
    if not element_family(pe.family).waits or shares.shape[1] == 1:
        return shares
    run = jobs.run_elements[wanted]
    blocks = np.where(run > 0, -(-pe.block // np.maximum(run, 1)), 1)
    return waiting_shares(mode.step_cycles[wanted], shares, blocks)
