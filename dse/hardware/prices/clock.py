"""Clock network and control: energy in every cycle, whether or not the array works.

``flip-flops x price of a clocked bit + controller``. The price of a clocked bit is what the clock network of Eyeriss takes by its
published shares of the chip's power (JSSC 2017, figure 16; :func:`dse.validation.eyeriss_chip.clock_from_shares`) over the
flip-flops that are counted here: 4.4 fJ at 65 nm. The controller is a processor that issues one instruction per cycle.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from dse.hardware.model import Hardware
from dse.hardware.prices.technology import energy_scale
from dse.types import Floats

#: Bits of a register file whose clock runs; larger files are gated by word. With 128 or 512 the price of a bit moves by -30 to
#: +60 %.
GATED_BITS = 256.0
#: pJ per cycle of Eyeriss' clock network at 65 nm by its published shares, its 168 elements, and the scratchpads of each, bits.
EYERISS_CLOCK_PJ, EYERISS_ELEMENTS, EYERISS_SCRATCHPADS = 515.0, 168, (192, 384, 3584)


def clocked_bits(size_bits: npt.ArrayLike) -> Floats:
    """Bits of a register or register file whose clock runs in every cycle.

    >>> clocked_bits([16, 4096]).tolist()
    [16.0, 256.0]
    """
    return np.asarray(np.minimum(np.asarray(size_bits, np.float64), GATED_BITS))


#: pJ per cycle and flip-flop at 45 nm, the tree and gating cells included.
CLOCKED_BIT_PJ_45NM = float(
    EYERISS_CLOCK_PJ / EYERISS_ELEMENTS / clocked_bits(EYERISS_SCRATCHPADS).sum() / energy_scale(65.0)
)
#: pJ per cycle of a controller at 22 nm: an application-class core at 40 Gop/s/W (Zaruba and Benini, TVLSI 2019, abstract); a
#: small one takes a fifth of it, one with vector units twice as much.
CONTROLLER_PJ, CONTROLLER_NM = 25.0, 22.0


#: Loop dims that the tensor in a role depends on, in the forward pass.
_DIMS = {"weight": "GKCRS", "activation": "NGCPQRS"}


def pipeline_flip_flops(hardware: Hardware, axis_size: npt.ArrayLike, serial: Collection[str]) -> Floats:
    """Pipeline registers of the whole array, bits: operands and sums that no register of the element's own holds.

    An array that adds products in trees (elements along an axis share a sum, and the file does not say ``systolic``) broadcasts its
    operands: each value is held once for the elements that it goes to. Otherwise values travel from element to element and each
    holds both and a sum. A serial operand has as many bits as a step takes.

    Parameters
    ----------
    axis_size
        (n, axes) elements along each axis.
    serial
        Roles whose operand an element takes in slices: :attr:`dse.hardware.elements.ElementFamily.serial`.
    """
    sizes = np.asarray(axis_size, np.float64)
    pe = hardware.pe
    # What a step of the mode takes that needs most; lanes of less than a MAC per cycle hold their operands all the same.
    widths = {
        "weight": max((w * max(rate, 1.0) for w, _, rate in pe.modes), default=float(pe.max_weight_bits)),
        "activation": max((a * max(rate, 1.0) for _, a, rate in pe.modes), default=float(pe.max_activation_bits)),
    }
    for role in serial:
        widths[role] = float(pe.min_bits)
    inner = {role: next(m for m in hardware.memories if role in m.roles) for role in (*widths, "accumulator")}
    summed = [axis.name in inner["accumulator"].shared_along for axis in hardware.axes]
    trees = inner["accumulator"].kind != "dram" and any(summed) and not hardware.systolic
    bits = np.zeros(len(sizes))
    for role, memory in inner.items():
        if memory.kind == "register" and not memory.shared_along:
            continue
        if role == "accumulator":
            held = pe.accumulator_bits * np.where(trees and np.array(summed), 1.0, sizes).prod(axis=1)
        else:
            alike = [trees and not set(axis.dims["forward"]) & set(_DIMS[role]) for axis in hardware.axes]
            held = widths[role] * np.where(alike, 1.0, sizes).prod(axis=1)
        bits += held
    return bits


def clock_pj_per_cycle(flip_flops: npt.ArrayLike, node_nm: npt.ArrayLike) -> Floats:
    """Clock network and control per cycle at the node's nominal supply, pJ, by the flip-flops of the design; broadcasts."""
    controller = CONTROLLER_PJ * energy_scale(node_nm, CONTROLLER_NM)
    return np.asarray(np.asarray(flip_flops, np.float64) * CLOCKED_BIT_PJ_45NM * energy_scale(node_nm) + controller)
