"""What quantizers say of a tensor, and the name of the number format that this is.

A name holds the element, the width and the granularity of its scales. Zero points count where each block has one; one per tensor
or channel is nothing beside its elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

#: Formats of ``TensorProto`` data types (onnx.proto, enum DataType). The FNUZ types have the same fields with another bias.
ELEMENTS = {
    1: "fp32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 10: "fp16", 11: "fp32", 12: "uint32", 16: "bf16",
    17: "fp8_e4m3", 18: "fp8_e4m3", 19: "fp8_e5m2", 20: "fp8_e5m2", 21: "uint4", 22: "int4", 23: "fp4_e2m1", 24: "e8m0",
    25: "uint2", 26: "int2",
}  # fmt: skip
#: Types whose values differ from those of the format's name, and how.
FNUZ = {18: "float8_e4m3fnuz", 20: "float8_e5m2fnuz"}
#: Formats that a model has without being quantized.
PLAIN = ("fp32", "fp16", "bf16")
_SCALE_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "e8m0": 8, "fp8_e4m3": 8, "uint8": 8}
#: Bits of a scale that the name of an integer in blocks need not say.
_USUAL_SCALE_BITS = 16


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
    """
    element = stored.element
    if not stored.block:
        return f"{element}:channel" if stored.channels and stored.is_integer else element
    if stored.is_integer and stored.scale != "e8m0":
        bits = _SCALE_BITS.get(stored.scale, 32)
        mark = "a" if stored.zero_points and element.startswith("int") else ""
        return f"{element}{mark}:vector{stored.block}" + (f"s{bits}" if bits != _USUAL_SCALE_BITS else "")
    block = "" if stored.block == 32 else f":{stored.block}"
    if element == "int8" or element.startswith("fp"):
        return f"mx{element}{block}"
    return element


def name_says_all(stored: Stored) -> bool:
    """Whether the name of a format says which scales there are."""
    if not stored.block:
        return not stored.channels or stored.is_integer
    return stored.is_integer if stored.scale != "e8m0" else stored.element == "int8" or stored.element.startswith("fp")
