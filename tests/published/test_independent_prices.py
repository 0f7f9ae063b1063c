"""Energy of the MACs, area of the elements, clock and DRAM interface of one design of each family, by a small script of formulas.

Nothing of the package's prices is used: published figures and arithmetic alone. Counts of MACs and seconds are the evaluation's.
"""

from dataclasses import replace
from math import ceil, log, log2, sqrt

import numpy as np
import pytest

from dse import evaluate, load_hardware
from dse.workload.layer import Layer
from dse.workload.model import Network

TINY = Network(
    "tiny", "made up",
    (Layer("fc", "fc", 1, 1, 64, 96, 1, 1, 1, 1, stride=(1, 1), dilation=(1, 1), input_hw=(1, 1), bias=False, passes=("forward",)),),
    16, 1, 1,
)  # fmt: skip

# Bit Fusion, synthesis at 45 nm in an array: bits, pJ, um2 of fixed units; factors of the flexible units of 8 and 16 bits from 2.
FIXED = np.array([[2, 0.0407, 81.1], [4, 0.0824, 191.6], [8, 0.2034, 510.7], [16, 0.6027, 1679.4]])
FLEXIBLE = {(8, 2): (0.4592, 1734.6)}


def unit(w, a, column):
    """Fixed unit of w x a bits: c0 + c1 (w + a) / 2 + c2 w a through the four rows, least squares of the relative error."""
    bits, value = FIXED[:, 0], FIXED[:, column]
    basis = np.stack([np.ones(4), bits, bits**2], axis=1) / value[:, None]
    c = np.linalg.solve(basis.T @ basis, basis.T @ np.ones(4))
    return c[0] + c[1] * (w + a) / 2 + c[2] * w * a


def add(bits):
    return 0.1 / 32 * bits


def multiply(a, b):
    return sqrt(0.2 / 64 * 3.1 / 1024) * a * b


def float_add(bits):
    return 0.4 * (bits / 16) ** log2(0.9 / 0.4)


def float_multiply(significand):
    return 1.1 * (significand / 11) ** (log(3.7 / 1.1) / log(24 / 11))


LOGIC = log((0.2034 + 0.05) / 0.084) / log(45 / 7)


def energy_scale(node):
    """65 nm by Stillmaker and Baas at 1.1 and 1.0 V; below 45 nm the power law through TPUv4i's MAC."""
    if node == 65:
        return (3.755 * 1.21 - 4.398 * 1.1 + 1.975) / (1.018 - 0.3107 + 0.1539)
    return (node / 45) ** LOGIC


def shift(bits, reach):
    """Aladdin's 32-bit shifter of five stages at 40 nm, 0.417 pJ, brought to 45 nm."""
    return 0.417 / 160 / (40 / 45) ** LOGIC * bits * ceil(log2(reach + 1))


FLIP_FLOP = 9e-3 / (40 / 45) ** LOGIC
AREA = {65: 1.5, 45: 1.0, 16: 0.19, 28: 0.46 * (0.21 / 0.46) ** (log(32 / 28) / log(32 / 20))}


ADDER = 4.256  # um2 of a full adder, NanGate's library at 45 nm


def fixed(h):
    return unit(8, 8, 1) + add(h.pe.accumulator_bits - 16), unit(8, 8, 2) + ADDER * (h.pe.accumulator_bits - 16)


def composable(h):
    """Four bits by four: four products per cycle."""
    return (FLEXIBLE[8, 2][0] + add(32 - 16)) / 4, FLEXIBLE[8, 2][1] + ADDER * 16


def bit_serial(h):
    step = add(16) + (add(32) + 32 * FLIP_FLOP) / 16
    return 16 * max(step, unit(16, 16, 1) / 16), unit(1, 16, 2) + ADDER * 2


def bit_serial_2d(h):
    """Slices of two bits in trees of 16: 64 steps of a 16 by 16 bit product."""
    step = multiply(2, 2) + add(4 + 4) + (add(32) + 32 * FLIP_FLOP) / 16
    return 64 * max(step, unit(16, 16, 1) / 64), unit(2, 2, 2) + ADDER * 2


def lookup(h):
    """UNPU: 23.1 % below the fixed unit at 16 bits."""
    return unit(16, 16, 1) * (1 - 0.231), unit(1, 16, 2) + ADDER * 2


def block_floating_point(h):
    """Mantissas of 4 bits: a quarter of the 8-bit unit's steps; a sum of 20 bits inside a block of 16, one FP32 addition per block."""
    return (FLEXIBLE[8, 2][0] + add(4)) / 4 + (add(8) + float_add(32)) / 16, FLEXIBLE[8, 2][1] + ADDER * 4 + (4184 + ADDER * 8) / 16


def mls(h):
    """<2,4>: 5 x 5 bits, exponents added, a shift by up to 6, a sum of 10 + 6 + 4 bits; an FP32 addition per 9."""
    area = unit(5, 5, 2) + unit(0, 40, 2) - unit(0, 0, 2) + 2.4 * 20 * 3 + 4184 / 9
    return multiply(5, 5) + add(2) + shift(20, 6) + add(20) + float_add(32) / 9, area


def floating(h):
    """E4M3: significands of 4 bits, FP32 sums; the area of a 4-bit unit with twice 32 bits more for shifts."""
    return float_multiply(4) + float_add(32), unit(4, 4, 2) + unit(0, 64, 2) - unit(0, 0, 2)


def multi_mode(h):
    """MXFP4, eight products of 2 by 2 bits where the unit multiplies 8 by 8, so that half of it switches.

    Each adds two exponents of 2 bits, shifts by up to 6 of 10 bits and adds; FP32 and scale exponents once.
    """
    lane = add(3) + shift(10, 6) + add(10)
    shifters = max(4 * 2.4 * 32 * 5, 8 * 2.4 * 10 * 3)
    return FLEXIBLE[8, 2][0] * (8 * 2 * 2 / 64) / 8 + lane + (float_add(32) + add(9)) / 8, FLEXIBLE[8, 2][1] + 4184 + shifters


FAMILIES = [
    ("gemmini", "w8a8", fixed),
    ("bit_fusion", "w4a4", composable),
    ("stripes_like", "w16a16", bit_serial),
    ("slices", "w16a16", bit_serial_2d),
    ("unpu_like", "w16a16", lookup),
    ("dynasty_like", "bfp4", block_floating_point),
    ("mls_unit", "mls_e2m4", mls),
    ("fp8_trainer", "fp8_e4m3", floating),
    ("mx_trainer", "mxfp4_e2m1", multi_mode),
]


def hardware_of(name):
    if name != "slices":
        return load_hardware(name)
    stripes = load_hardware("stripes_like")
    return replace(stripes, pe=replace(stripes.pe, family="bit_serial_2d", min_bits=2))


@pytest.mark.parametrize(("name", "plan", "formulas"), FAMILIES)
def test_energy_and_area(name, plan, formulas):
    hardware = hardware_of(name)
    cost = evaluate(TINY, hardware, plan, mode="inference")
    pj, um2 = formulas(hardware)
    node = hardware.node_nm
    products = 16 * 64 * 96
    assert cost.total["mac_j"][0] == pytest.approx(products * pj * energy_scale(node) * 1e-12, rel=2e-3)
    elements = np.prod([axis.size for axis in hardware.axes])
    area = dict(zip(cost.area["part"], cost.area["area_mm2"], strict=True))
    cells = elements * um2 * AREA[node] / 0.7 * 1e-6
    # Beside the cells stand pipeline registers, at most a flip-flop for each operand and sum of every element.
    operands = [hardware.pe.max_weight_bits + hardware.pe.max_activation_bits]
    operands += [(w + a) * macs for w, a, macs in hardware.pe.modes]
    bits = elements * (max(operands) + hardware.pe.accumulator_bits)
    flip_flop = 5.98 / 0.7 * AREA[node] / ((0.46 + 0) ** (log(45 / 40) / log(45 / 32)))
    assert cells * (1 - 2e-3) <= area["pe"] <= (cells + bits * flip_flop * 1e-6) * 1.02


def test_interface_and_clock():
    """LPDDR4 at 256 bits and 800 MHz: TPUv1's 3 % of 331 mm2 for 34 GB/s, and 12 % of 8 pJ per bit while it waits.

    Clock of flex_trainer: 1,024 elements with 128 bits of weights and 8 of activations, 32 sums of 32 bits and 512 behind, 256 clocked; Eyeriss' 515 pJ over 168 elements of 192 + 256 + 256 clocked bits at 65 nm; a core of 25 pJ at 22 nm.
    """
    from dse.hardware import hardware_arrays

    hardware = load_hardware("flex_trainer")
    arrays = hardware_arrays(hardware)
    gbit = 256 * 0.8
    assert arrays.area_parts_mm2[0, arrays.area_parts.index("dram")] == pytest.approx(0.03 * 331 / 272 * gbit)
    clocked = 515 / 168 / (192 + 256 + 256) / energy_scale(65)
    bits = 1024 * (128 + 8) + 32 * (256 + 32)
    pj = bits * clocked * energy_scale(28) + 25 * energy_scale(28) / energy_scale(22)
    assert arrays.leakage_parts_w[0, 1:] == pytest.approx([0.12 * 8e-12 * gbit * 1e9, pj * 1e-12 * 0.8e9], rel=1e-6)


def test_systolic_elements_hold_an_operand_and_a_sum():
    """Gemmini, 16 x 16: an activation of 8 and a sum of 32 bits travel through each element; as a tree, 16 of each kind."""
    from dse.hardware.prices.clock import pipeline_flip_flops

    gemmini = load_hardware("gemmini")
    assert pipeline_flip_flops(gemmini, [[16, 16]], ()).tolist() == [256 * (8 + 32)]
    assert pipeline_flip_flops(replace(gemmini, systolic=False), [[16, 16]], ()).tolist() == [16 * 8 + 16 * 32]


def test_memories_shrink_as_cells_do():
    """TSMC's cells: 0.296 um2 at 45 nm, 0.127 at 28, 0.027 at 7."""
    from dse.hardware.prices.memories import sram_area_mm2

    sizes = sram_area_mm2(2.0**22, 64, [45, 28, 7])
    assert sizes / sizes[0] == pytest.approx([1, 0.127 / 0.296, 0.027 / 0.296])
