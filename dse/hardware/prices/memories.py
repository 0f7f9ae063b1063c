"""What moving and keeping a bit costs: SRAM by capacity and port, registers, DRAM by type, wires; and what they occupy and leak.

Plain functions that broadcast over their array arguments. Energies are pJ per bit, areas mm2, leakage W. Figures are given at
45 nm and scaled by :mod:`dse.hardware.prices.technology`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dse.errors import InputError, Problem
from dse.hardware.prices import sram_45nm
from dse.hardware.prices.technology import (
    area_scale,
    energy_scale,
    node_extrapolated,
    sram_area_scale,
    sram_energy_scale,
)
from dse.types import Bools, Floats
from dse.yaml_input import suggest


class Dram(NamedTuple):
    """A type of DRAM and its interface on the chip.

    Attributes
    ----------
    pj_per_bit
        Moving a bit, device and interface.
    phy_mm2_per_gbit_s
        Pads, PHY and controller on the chip by bandwidth, mm2 per 10^9 bits per second; they do not shrink with the node.
    """

    pj_per_bit: float
    phy_mm2_per_gbit_s: float


#: mm2 per Gbit/s of two interfaces. DDR: TPUv1's two ports of DDR3 at 34 GB/s take 3 % of a die of at most 331 mm2 (Jouppi et
#: al., ISCA 2017, floor plan, second hand). HBM: 12 to 15 mm2 of an A100's 826 per stack of 408 GB/s (estimates from die
#: photographs, second hand).
_DDR_PHY, _HBM_PHY = 0.03 * 331 / (34 * 8), 13.5 / (408 * 8)
#: Energy and interface by type. hbm2, gddr5: O'Connor et al., "Fine-Grained DRAM", MICRO 2017. lpddr4, ddr3:
#: Accelergy's CactiDRAM (ddr3 a server module at low load, after Malladi et al., ISCA 2012). bit_fusion: its simulator (ISCA
#: 2018), which has no interface on the chip. tpu_v4i: a TPUv4i-like model's HBM at 614 GB/s, its origin not traced. ddr4: an 8 Gb
#: x8 device at 2400 MT/s and full rate by the currents that Ramulator 2 lists (IDD4R 145 mA at 1.2 V, IPP4R 3 mA at 2.5 V,
#: refresh 307 mA more for 350 ns of 7.8 us; the rate and the refresh times are ours); bus termination and activations left out: a
#: lower bound. Interfaces of lpddr4, ddr4 and gddr5 are taken to be as large as DDR3's.
DRAM = {
    "lpddr4": Dram(8.0, _DDR_PHY),
    "ddr4": Dram(10.3, _DDR_PHY),
    "hbm2": Dram(3.9, _HBM_PHY),
    "gddr5": Dram(14.0, _DDR_PHY),
    "ddr3": Dram(70.0, _DDR_PHY),
    "bit_fusion": Dram(15.0, 0.0),
    "tpu_v4i": Dram(7.03, _HBM_PHY),
}
DRAM_PJ_PER_BIT = {name: kind.pj_per_bit for name, kind in DRAM.items()}
#: Power of an interface that waits, as a share of what it takes at full rate: clocks, delay lines and termination that run on; an
#: assumption (0.04 to 0.3) within the shares of standby in a device's active current (IDD3N of IDD4R in data sheets of DDR4).
IDLE_SHARE = 0.12

#: A flip-flop at 40 nm and 1 GHz: pJ per bit and access, mm2 per bit, W per bit. Shao et al., "Aladdin", ISCA 2014, power model.
FLIP_FLOP_NM, FLIP_FLOP_PJ_PER_BIT, FLIP_FLOP_MM2_PER_BIT, FLIP_FLOP_LEAKAGE_W = 40.0, 9.0e-3, 5.98e-6, 7.4e-8
#: Share of the area of standard cells that is gates, the rest is left for wires: 0.6 to 0.85, the usual 0.7 of placed designs.
PLACEMENT = 0.7
#: pJ per bit and mm at 45 nm; see :func:`wire_pj_per_bit`.
WIRE_PJ_PER_BIT_MM = 0.249
#: bits, largest register that is priced as plain flip-flops; between this and CACTI's smallest SRAM prices are interpolated.
FLIP_FLOP_BITS = 64.0
#: bits, beyond it an SRAM's price is extrapolated by the slope of the last doubling; beyond the second it is refused.
LARGEST_CACTI_BITS, LARGEST_SRAM_BITS = float(sram_45nm.CAPACITY_BITS[-1]), 8 * 2.0**30


def sram_read_pj_per_bit(
    size_bits: npt.ArrayLike, port_bits: npt.ArrayLike = 64.0, node_nm: npt.ArrayLike = 45.0
) -> Floats:
    """Energy of reading a bit from an SRAM of one bank, pJ.

    Parameters
    ----------
    size_bits
        1,024 (128 B) to 2^26 (8 MB) are CACTI's; smaller ones cost what 128 B costs, larger ones are extrapolated (see
        :func:`sram_extrapolated`).
    port_bits
        Bits per access, 32 to 512; held at the nearest of these outside.
    node_nm
        5 to 65 nm.

    Notes
    -----
    Exact at powers of two, bilinear in the logarithms between. Leaving a capacity out and interpolating it from its neighbours
    errs by 6 % in the mean, 23 % at most. Energy never falls with capacity (CACTI's own does, by up to 1 %, at one
    point). The node factor (:func:`dse.hardware.prices.technology.sram_energy_scale`) is off by +6, 0 and -3 % against CACTI at
    65, 32 and 22 nm.

    >>> round(float(sram_read_pj_per_bit(16384 * 8, 32)), 3)
    0.312
    """
    return _lookup(_READ, size_bits, port_bits) * sram_energy_scale(node_nm)


def sram_write_pj_per_bit(
    size_bits: npt.ArrayLike, port_bits: npt.ArrayLike = 64.0, node_nm: npt.ArrayLike = 45.0
) -> Floats:
    """Energy of writing a bit to an SRAM of one bank, pJ; as :func:`sram_read_pj_per_bit`, left out 8 %, 26 % at most."""
    return _lookup(_WRITE, size_bits, port_bits) * sram_energy_scale(node_nm)


def sram_area_mm2(size_bits: npt.ArrayLike, port_bits: npt.ArrayLike = 64.0, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Area of an SRAM of one bank with one read and one write port, mm2; as :func:`sram_read_pj_per_bit`.

    A capacity left out errs by 5 % in the mean, 17 % at most. Below 128 B it is proportional to the capacity. The node
    factor (:func:`dse.hardware.prices.technology.sram_area_scale`) is off by -19, +3 and +24 % against CACTI at 65, 32 and 22 nm.
    """
    small = np.minimum(np.asarray(size_bits, np.float64) / sram_45nm.CAPACITY_BITS[0], 1.0)
    return np.asarray(_lookup(_AREA, size_bits, port_bits) * small * sram_area_scale(node_nm))


def sram_leakage_w(size_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0, high_performance: bool = False) -> Floats:
    """Leakage of an SRAM at 360 K, W: low-standby-power cells, or CACTI's high-performance ones (50 to 250 times more).

    Per bit as CACTI 7 gives it at 16 KB, 256 KB and 2 MB, 45 nm; node by :func:`leakage_scale`.
    """
    watts = sram_45nm.LEAKAGE_HIGH_PERFORMANCE_W if high_performance else sram_45nm.LEAKAGE_W
    per_bit = watts / sram_45nm.LEAKAGE_CAPACITY_BITS
    size = np.asarray(size_bits, np.float64)
    return np.asarray(
        size * np.interp(np.log(size), np.log(sram_45nm.LEAKAGE_CAPACITY_BITS), per_bit) * leakage_scale(node_nm)
    )


def leakage_scale(node_nm: npt.ArrayLike) -> Floats:
    """Leakage of the same circuit relative to 45 nm.

    65 to 22 nm: CACTI 7's of a 1 MB memory (1.12, 1, 0.59, 0.27); below 22 nm no source was found and leakage is taken to
    follow the dynamic energy of memories, an extrapolation.
    """
    node = np.asarray(node_nm, np.float64)
    floor = sram_45nm.NODES_NM[-1]
    logs = np.interp(np.log(node), np.log(sram_45nm.NODES_NM[::-1]), np.log(sram_45nm.LEAKAGE_BY_NODE[::-1]))
    return np.asarray(np.exp(logs) * sram_energy_scale(np.minimum(node, floor), floor))


def sram_extrapolated(
    size_bits: npt.ArrayLike, port_bits: npt.ArrayLike = 64.0, node_nm: npt.ArrayLike = 45.0
) -> Bools:
    """True where an SRAM's price lies outside 128 B to 8 MB, ports of 32 to 512 bits, and 7 to 65 nm."""
    size, port = np.asarray(size_bits, np.float64), np.asarray(port_bits, np.float64)
    capacity = (size < sram_45nm.CAPACITY_BITS[0]) | (size > LARGEST_CACTI_BITS)
    ports = (port < sram_45nm.PORT_BITS[0]) | (port > sram_45nm.PORT_BITS[-1])
    return np.asarray(capacity | ports | node_extrapolated(node_nm))


def register_pj_per_bit(size_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Energy of an access to a register or register file, pJ per bit, reads and writes alike.

    Up to 64 bits flip-flops (Aladdin, 9 fJ per bit at 40 nm); from 1,024 bits CACTI's smallest arrays with a 32-bit port
    (mean of read and write); interpolated in the logarithms between, which is an assumption of ours.

    >>> round(float(register_pj_per_bit(32, 40)), 4)
    0.009
    """
    small = FLIP_FLOP_PJ_PER_BIT * energy_scale(node_nm, FLIP_FLOP_NM)
    size = np.asarray(size_bits, np.float64)
    large = (_lookup(_READ, size, 32.0) + _lookup(_WRITE, size, 32.0)) / 2 * sram_energy_scale(node_nm)
    return _between(size, np.log(small), np.log(large))


def register_area_mm2(size_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Area of a register or register file, mm2: flip-flops up to 64 bits, CACTI from 1,024, as :func:`register_pj_per_bit`."""
    size = np.asarray(size_bits, np.float64)
    small = FLIP_FLOP_MM2_PER_BIT / PLACEMENT * area_scale(45.0, FLIP_FLOP_NM)
    large = sram_area_mm2(size, 32.0) / size
    return size * _between(size, np.log(small), np.log(large)) * area_scale(node_nm)


def register_leakage_w(size_bits: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Leakage of registers, W: 74 nW per flip-flop at 40 nm (Aladdin), in proportion to the area of :func:`register_area_mm2`."""
    density = (
        FLIP_FLOP_LEAKAGE_W / (FLIP_FLOP_MM2_PER_BIT / PLACEMENT) * leakage_scale(45.0) / leakage_scale(FLIP_FLOP_NM)
    )
    density = density / area_scale(45.0, FLIP_FLOP_NM)
    return np.asarray(register_area_mm2(size_bits) * density * leakage_scale(node_nm))


def phy_area_mm2(kind: str, bits_per_s: npt.ArrayLike) -> Floats:
    """Pads, PHY and controller of a DRAM interface on the chip, mm2, by its bandwidth and :data:`DRAM`; 0 if unlimited or of no
    type."""
    rate = np.asarray(bits_per_s, np.float64)
    per_gbit = DRAM[kind].phy_mm2_per_gbit_s if kind in DRAM else 0.0
    return np.asarray(np.where(np.isfinite(rate), rate, 0.0) * 1e-9 * per_gbit)


def phy_idle_w(kind: str, bits_per_s: npt.ArrayLike) -> Floats:
    """Power of a DRAM interface that is on, whether or not it moves bits, W: :data:`IDLE_SHARE` of the full rate's."""
    rate = np.asarray(bits_per_s, np.float64)
    price = DRAM[kind].pj_per_bit if kind in DRAM and DRAM[kind].phy_mm2_per_gbit_s else 0.0
    return np.asarray(np.where(np.isfinite(rate), rate, 0.0) * price * IDLE_SHARE * 1e-12)


def dram_pj_per_bit(kind: str) -> float:
    """Energy of moving a bit to or from a DRAM of a type, pJ; types and sources: :data:`DRAM_PJ_PER_BIT`.

    Raises
    ------
    InputError
        Unknown type.
    """
    if kind not in DRAM_PJ_PER_BIT:
        raise InputError("DRAM", [Problem("dram", f"'{kind}' is no known type{suggest(kind, DRAM_PJ_PER_BIT)}")])
    return DRAM_PJ_PER_BIT[kind]


def wire_pj_per_bit(length_mm: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Energy of moving a bit along a wire on the chip, pJ.

    0.249 pJ per mm and switching bit at 45 nm: CACTI 7, semi-global full-swing wire whose repeaters trade 30 % of the delay for
    energy. Every bit is taken to switch, an upper bound; wires shrink less than gates, so the node factor of logic makes it
    optimistic below 20 nm.
    """
    return np.asarray(WIRE_PJ_PER_BIT_MM * np.asarray(length_mm, np.float64) * energy_scale(node_nm))


def data_wire_pj_per_bit(length_mm: npt.ArrayLike, node_nm: npt.ArrayLike = 45.0) -> Floats:
    """Energy of moving a bit of data along a wire, pJ: :func:`wire_pj_per_bit` with every other bit switching.

    Random bits do so; the wire is CACTI 7's.

    >>> round(float(data_wire_pj_per_bit(2.0)), 3)
    0.249
    """
    return np.asarray(0.5 * wire_pj_per_bit(length_mm, node_nm))


def _filled(table: Floats, rising: bool) -> Floats:
    """Logarithms of a table; a port too wide for a capacity takes the value of the smallest capacity that has it."""
    full = table.copy()
    for row in range(len(full) - 2, -1, -1):
        full[row] = np.where(np.isnan(full[row]), full[row + 1], full[row])
    return np.asarray(np.log(np.maximum.accumulate(full, axis=0) if rising else full))


_READ = _filled(sram_45nm.READ_PJ_PER_BIT, True)
_WRITE = _filled(sram_45nm.WRITE_PJ_PER_BIT, True)
_AREA = _filled(sram_45nm.AREA_MM2, True)
_LOG2_CAPACITY = np.log2(sram_45nm.CAPACITY_BITS)
_LOG2_PORT = np.log2(sram_45nm.PORT_BITS)


def _lookup(logs: Floats, size_bits: npt.ArrayLike, port_bits: npt.ArrayLike) -> Floats:
    """Bilinear in the logarithms; the last doubling's slope beyond the largest capacity, held at every other edge."""
    size = np.log2(np.asarray(size_bits, np.float64))
    port = np.clip(np.log2(np.asarray(port_bits, np.float64)), _LOG2_PORT[0], _LOG2_PORT[-1]) - _LOG2_PORT[0]
    place = np.maximum(size - _LOG2_CAPACITY[0], 0.0)
    row = np.minimum(place, len(logs) - 2).astype(np.int64)
    column = np.minimum(port, logs.shape[1] - 2).astype(np.int64)
    y, x = place - row, port - column
    low = logs[row, column] * (1 - x) + logs[row, column + 1] * x
    high = logs[row + 1, column] * (1 - x) + logs[row + 1, column + 1] * x
    return np.asarray(np.exp(low * (1 - y) + high * y))


def _between(size: Floats, small: npt.ArrayLike, large: Floats) -> Floats:
    """From the flip-flop's value to the array's, both logarithms, by the logarithm of the size."""
    edge = sram_45nm.CAPACITY_BITS[0]
    share = np.clip(np.log(size / FLIP_FLOP_BITS) / np.log(edge / FLIP_FLOP_BITS), 0.0, 1.0)
    return np.asarray(np.exp(np.asarray(small) * (1 - share) + large * share))
