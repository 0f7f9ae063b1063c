"""Published figures of Bit Fusion, CACTI and others against the hardware room."""

import numpy as np
import pytest

from dse.hardware import load_hardware
from dse.hardware.model import ProcessingElement
from dse.hardware.pe import mac_energy_pj, pe_area_mm2, pe_leakage_w, pe_mode
from dse.hardware.prices.arithmetic import float_add_pj, float_multiply_pj
from dse.hardware.prices.memories import sram_45nm, sram_area_mm2, sram_read_pj_per_bit, sram_write_pj_per_bit
from dse.hardware.prices.units_45nm import SYNTHESIS_HZ, synthesis_rows


@pytest.mark.parametrize("row", synthesis_rows(), ids=lambda row: f"{row.name} {row.quantity}")
def test_bit_fusion_synthesis(row):
    """Sharma et al., ISCA 2018, 45 nm, 500 MHz: every synthesized unit within 10 %; ours is within 4 %."""
    assert abs(row.ours / row.published - 1) < 0.04


#: REFERENCES, 4x4 array per unit including leakage: maximum and minimum width, pJ per cycle, um2.
UNITS = [(2, 2, 0.0442, 81), (4, 4, 0.0931, 192), (8, 8, 0.2356, 511), (16, 16, 0.7167, 1679)]
FLEXIBLE = [(4, 2, 0.1397, 354), (8, 2, 0.5779, 1735), (16, 2, 2.7043, 8831)]


@pytest.mark.parametrize(("most", "least", "pj", "um2"), UNITS + FLEXIBLE)
def test_elements_are_priced_as_synthesized(most, least, pj, um2):
    """What the cost model charges per cycle and per element, the accumulator as wide as the product, is the published unit."""
    pe = ProcessingElement("composable" if most > least else "fixed", most, most, least, accumulator_bits=2 * most)
    lanes = pe_mode(pe, least, least).lanes if most > least else 1
    ours = float(mac_energy_pj(pe, least, least) * lanes) + float(pe_leakage_w(pe)) / SYNTHESIS_HZ * 1e12
    assert ours == pytest.approx(pj, rel=0.04)
    assert float(pe_area_mm2(pe)) * 1e6 == pytest.approx(um2, rel=0.04)


#: REFERENCES, CACTI 45 nm, 32-bit port: bytes, read and write pJ per bit, mm2.
CACTI = [
    (128, 0.021, 0.029, 0.0015),
    (1024, 0.035, 0.103, 0.0088),
    (2048, 0.060, 0.114, 0.0151),
    (4096, 0.107, 0.135, 0.0301),
    (8192, 0.200, 0.174, 0.0575),
    (16384, 0.312, 0.263, 0.1086),
]


@pytest.mark.parametrize(("capacity_bytes", "read", "write", "mm2"), CACTI)
def test_cacti(capacity_bytes, read, write, mm2):
    bits = capacity_bytes * 8
    assert sram_read_pj_per_bit(bits, 32) == pytest.approx(read, rel=0.025)
    assert sram_write_pj_per_bit(bits, 32) == pytest.approx(write, rel=0.025)
    assert sram_area_mm2(bits, 32) == pytest.approx(mm2, rel=0.025)


def bit_fusion_cycles(n, p, q, k, r, s, c, w, a):
    """The simulator's law, from the axes and lanes of the shipped file."""
    hardware = load_hardware("bit_fusion")
    rows, cols = (axis.size for axis in hardware.axes)
    assert hardware.lanes_on_axes
    assert hardware.axes[0].dims["forward"] == ("C",)
    lanes = int(pe_mode(hardware.pe, w, a).lanes)
    return n * p * q * r * s * -(-k // cols) * -(-c // (rows * lanes))


def test_bit_fusion_cycles_exact():
    """ISCA 2018 simulator: fc 8b/8b 262,144, fc 4b/4b 524,288, conv 4b/4b 2,032,128 cycles."""
    assert bit_fusion_cycles(16, 1, 1, 1000, 1, 1, 8192, 8, 8) == 262_144
    assert 16 * 256 * 8192 // 64 == bit_fusion_cycles(16, 1, 1, 8192, 1, 1, 8192, 4, 4) == 524_288
    assert bit_fusion_cycles(16, 14, 14, 384, 3, 3, 384, 4, 4) == 2_032_128


def test_cacti_at_other_nodes():
    """CACTI 7 run at 65, 32 and 22 nm against the scaling of Stillmaker and Baas: read energy within 7 %, area within 30 %."""
    nodes = sram_45nm.NODES_NM
    read = sram_read_pj_per_bit(8 * 2.0**20, 64, nodes) / sram_read_pj_per_bit(8 * 2.0**20, 64)
    area = sram_area_mm2(8 * 2.0**20, 64, nodes) / sram_area_mm2(8 * 2.0**20, 64)
    assert np.abs(read / sram_45nm.READ_BY_NODE - 1).max() < 0.07
    assert np.abs(area / sram_45nm.AREA_BY_NODE - 1).max() < 0.30


def peak_gops(name, weight_bits, activation_bits):
    """Two operations per MAC, every element busy."""
    hardware = load_hardware(name)
    mode = pe_mode(hardware.pe, weight_bits, activation_bits)
    elements = np.prod([axis.size for axis in hardware.axes])
    return float(2 * elements * mode.lanes / mode.step_cycles * hardware.clock_hz / 1e9)


@pytest.mark.parametrize(
    ("name", "weight_bits", "activation_bits", "published", "tolerance"),
    [
        ("unpu_like", 16, 16, 345.6, 0.001),
        ("unpu_like", 1, 16, 7372, 0.001),
        ("brain_tta_like", 1, 1, 614, 0.001),
        ("brain_tta_like", 2, 2, 307, 0.001),
        ("brain_tta_like", 8, 8, 77, 0.003),
        ("mx_trainer", 8, 8, 64, 0.001),
        ("mx_trainer", 4, 4, 256, 0.001),
        ("mx_trainer", 2, 2, 512, 0.001),
        ("simba_like", 8, 8, 4010, 0.025),
    ],
)
def test_peak_throughput(name, weight_bits, activation_bits, published, tolerance):
    """UNPU JSSC 2019, BrainTTA arXiv 2211.11331, MX arXiv 2511.06313, Simba VLSI 2019, each from its abstract."""
    assert peak_gops(name, weight_bits, activation_bits) == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize(("bits", "ratio"), [(4, 16), (8, 4), (16, 1)])
def test_flexblock_modes(bits, ratio):
    """FlexBlock, abstract: 4-bit mode up to 16 times, 8-bit mode up to 4 times the MACs of the 16-bit mode."""
    assert peak_gops("flexblock_like", bits, bits) / peak_gops("flexblock_like", 16, 16) == pytest.approx(ratio)


def test_stripes_gains_sixteen_over_bits():
    """Stripes, MICRO 2016: execution time falls in proportion to the activation's bits, 16 bits as fast as bit-parallel."""
    assert peak_gops("stripes_like", 16, 16) == pytest.approx(2 * 256 * 0.98)
    assert peak_gops("stripes_like", 16, 5) / peak_gops("stripes_like", 16, 16) == pytest.approx(16 / 5)


def test_mls_computing_unit_ratios():
    """MLS (abstract): 8.3 to 10.2 times less energy than FP32 and 1.9 to 2.3 times less than FP8, computing units alone.

    From single operations of Horowitz and Aladdin, without the paper's own: 11.1 and 2.7 times for groups of 3x3; the FP8 unit
    adds in FP32, whose share (0.9 of 1.13 pJ) is larger than in the paper.
    """
    mls = float(mac_energy_pj(load_hardware("mls_unit").pe, 7, 7))
    fp32 = float(float_multiply_pj(24) + float_add_pj(32))
    fp8 = float(float_multiply_pj(4) + float_add_pj(32))
    assert fp32 / mls == pytest.approx(11.1, rel=0.01)
    assert fp8 / mls == pytest.approx(2.73, rel=0.01)
