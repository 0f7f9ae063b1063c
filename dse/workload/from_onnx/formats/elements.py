"""What quantizers say of a tensor, and the name of the number format that this is.

A name holds the element, the width and the granularity of its scales. Zero points count where each block has one; one per tensor
or channel is nothing beside its elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

#: Formats of ``TensorProto`` data types (onnx.proto, enum DataType). The FNUZ types have a bias of their own and no infinities.
ELEMENTS = {
    1: "fp32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 10: "fp16", 11: "fp32", 12: "uint32", 16: "bf16",
    17: "fp8_e4m3", 18: "fp8_e4m3b8", 19: "fp8_e5m2", 20: "fp8_e5m2b16", 21: "uint4", 22: "int4", 23: "fp4_e2m1", 24: "e8m0",
    25: "uint2", 26: "int2",
}  # fmt: skip
#: Formats that a model has without being quantized.
PLAIN = ("fp32", "fp16", "bf16")
_SCALE_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "e8m0": 8, "fp8_e4m3": 8, "uint8": 8}
#: Bits of a scale that the name of an integer in blocks need not say, and elements of a block that those of MX, NVFP4 and NF4 need
#: not.
_USUAL_SCALE_BITS = 16
_MX_BLOCK, _NV_BLOCK, _NORMAL_BLOCK = 32, 16, 64


@dataclass(frozen=True)
class Stored:
    """How a tensor is stored.

    Attributes
    ----------
    element
        Name of the format of its elements alone.
    channels
        Whether each output channel has a scale.
    block
        Elements that share a scale; 0 if a scale follows the shape of the tensor.
    scale
        Element format of the scales of blocks.
    zero_points
        Whether each block has a zero point.
    """

    element: str
    channels: bool = False
    block: int = 0
    scale: str = "fp32"
    zero_points: bool = False

    @property
    def is_integer(self) -> bool:
        return self.element.startswith(("int", "uint"))

    @property
    def is_small_float(self) -> bool:
        return self.element.startswith("fp") and self.element not in PLAIN


def integer(bits: int, signed: bool) -> str:
    """Name of an integer of some bits; one bit is a sign."""
    return "binary" if bits < 2 else f"{'' if signed else 'u'}int{min(bits, 32)}"


def narrowed(stored: Stored, low: float, high: float) -> Stored:
    """Integers that a clip keeps within bounds, as QCDQ writes widths that have no type: -7 to 7 are four bits, 0 to 15 unsigned.

    Bounds of a signed type that only cut what is negative off, as a fused rectifier does, leave its width.

    >>> narrowed(Stored("int8"), -7, 7).element, narrowed(Stored("int8"), 0, 127).element, narrowed(Stored("uint8"), 0, 14).element
    ('int4', 'int8', 'uint4')
    """
    match = re.fullmatch(r"(u?)int([0-9]+)", stored.element)
    if match is None:
        return stored
    signed, bits = not match[1], int(match[2])
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = int(max(low, least)), int(min(high, most))
    if low > high or (low, high) == (least, most):
        return stored
    if signed and low < 0:
        width = max((-low - 1).bit_length(), high.bit_length()) + 1
        return replace(stored, element=integer(max(width, 2), True))
    width = high.bit_length()
    if signed and width >= bits - 1:
        return stored
    return replace(stored, element=integer(max(width, 2), False))


def format_name(stored: Stored) -> str:
    """The name of a number format.

    >>> format_name(Stored("int4", block=32)), format_name(Stored("int4", block=32, scale="fp16", zero_points=True))
    ('int4:vector32s32', 'int4a:vector32')
    >>> format_name(Stored("fp4_e2m1", block=16, scale="fp8_e4m3")), format_name(Stored("fp8_e4m3", block=32, scale="e8m0"))
    ('nvfp4', 'mxfp8_e4m3')
    """
    element, block = stored.element, stored.block
    if not block:
        return f"{element}:channel" if stored.channels and (stored.is_integer or stored.is_small_float) else element
    if stored.scale == "e8m0" and (element == "int8" or stored.is_small_float):
        return f"mx{element.partition('b')[0]}" + (f":{block}" if block != _MX_BLOCK else "")
    if stored.is_integer:
        bits = _SCALE_BITS.get(stored.scale, 32)
        mark = "a" if stored.zero_points and element.startswith("int") else ""
        return f"{element}{mark}:vector{block}" + (f"s{bits}" if bits != _USUAL_SCALE_BITS else "")
    if element == "fp4_e2m1" and stored.scale == "fp8_e4m3":
        return "nvfp4" + (f":{block}" if block != _NV_BLOCK else "")
    if element == "nf4":
        return element + (f":{block}" if block != _NORMAL_BLOCK else "")
    return f"{element}:{block}" if stored.is_small_float else element


def name_says_all(stored: Stored) -> bool:
    """Whether the name of a format says what scales there are, and of which type."""
    if not stored.block:
        return not stored.channels or stored.is_integer or stored.is_small_float or stored.element == "binary"
    if stored.scale == "e8m0":
        return stored.element == "int8" or (stored.is_small_float and "b" not in stored.element)
    if stored.is_integer:
        return True
    return stored.scale == "fp32" or (stored.element == "fp4_e2m1" and stored.scale == "fp8_e4m3")
