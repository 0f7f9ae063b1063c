"""Hardware that the studies share: shipped models, and variants that differ in the processing element alone.

A variant keeps array, memories, clock and node of a shipped model, so that a comparison shows what the element does, no more.
"""

from __future__ import annotations

from dataclasses import replace

from dse.hardware import load_hardware
from dse.hardware.model import Hardware, ProcessingElement

#: Elements of the side-by-side table, in the array and with the memories of ``dynasty_like``.
SHARED = "dynasty_like"


def widths_4_and_8() -> Hardware:
    """``bit_fusion`` with elements that fuse 4-bit multipliers: widths 4 and 8 only, as many devices have."""
    hardware = load_hardware("bit_fusion")
    return _with(hardware, "bit_fusion {4,8}", replace(hardware.pe, min_bits=4))


def fixed_8() -> Hardware:
    """``bit_fusion`` with plain 8-bit multipliers."""
    hardware = load_hardware("bit_fusion")
    return _with(hardware, "fixed 8 bit", replace(hardware.pe, family="fixed"))


def every_width() -> Hardware:
    """``bit_fusion`` with elements that are serial in both operands, bit by bit: time follows the product of the widths."""
    hardware = load_hardware("bit_fusion")
    return _with(hardware, "bit-serial 1-8", replace(hardware.pe, family="bit_serial_2d", min_bits=1))


def roomy() -> Hardware:
    """``bit_fusion`` with an output buffer of 128 KB, so that sums of 32 bits stay on the chip."""
    hardware = load_hardware("bit_fusion")
    memories = tuple(
        replace(m, size_bits=8 * m.size_bits) if m.name == "output_buffer" else m for m in hardware.memories
    )
    return replace(hardware, name="bit_fusion with 128 KB for outputs", memories=memories)


def flexible() -> Hardware:
    """The side-by-side device: Bit Fusion's flexible unit of 16 to 2 bits in ``dynasty_like``'s array.

    Words of 17 to 32 bits take four steps, block floating point runs on its integer mantissas.
    """
    hardware = load_hardware(SHARED)
    element = ProcessingElement("composable", max_weight_bits=16, max_activation_bits=16, min_bits=2)
    return _with(hardware, "flexible 2-16", element)


def serial_32() -> Hardware:
    """Elements that take one operand bit by bit, up to 32 bits: time follows one word length, as AdaPT's model has it."""
    hardware = load_hardware(SHARED)
    element = ProcessingElement("bit_serial", max_weight_bits=32, max_activation_bits=32, min_bits=1)
    return _with(hardware, "bit-serial 32", element)


def float32() -> Hardware:
    """FP32 elements in the same array."""
    hardware = load_hardware(SHARED)
    element = ProcessingElement(
        "float", max_weight_bits=24, max_activation_bits=24, significand_bits=24, exponent_bits=8, min_bits=1
    )
    return _with(hardware, "FP32", element)


def _with(hardware: Hardware, name: str, element: ProcessingElement) -> Hardware:
    return replace(hardware, name=name, pe=element)
