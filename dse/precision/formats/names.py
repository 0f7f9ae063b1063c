"""Names of number formats.

A format is written as a name. The grammar, with ``B`` a number of bits and ``HxW`` a group of elements that share a scale
(``HxW`` rows by columns of the last two axes, or one number ``N`` for ``1xN``):

=======================  ====================================================================================
``int8``                 signed integer, symmetric range, one FP32 scale per tensor; ``int2`` ... ``int32``
``int8a``, ``uint8``     signed or unsigned integer with a zero point (asymmetric)
``int8:channel``         one FP32 scale per channel; ``int4:vector16``: one FP16 scale per 16 elements
``fixed16_8``            two's complement fixed point <word length, fraction length>, scale 2^-8 (AdaPT's <WL, FL>)
``bfp4``, ``bfp6:1x16``  block floating point: B-bit signed mantissas, one 8-bit exponent per block (default 4x4)
``mxint8``, ``mxfp8_e4m3``, ``mxfp8_e5m2``, ``mxfp6_e2m3``, ``mxfp6_e3m2``, ``mxfp4_e2m1``
                         OCP microscaling: 32 elements share an E8M0 scale; ``mxfp4_e2m1:16`` takes another block
``fp8_e4m3``, ``fp16``   floats; also ``fp8_e5m2 bf16 tf32 fp32`` and any ``fpB_eXmY`` with B = 1 + X + Y
``mls_e2m4``, ``:56x56`` multi-level scaling: unsigned <E, M> elements with a sign, group scale <8, 1>, tensor scale FP32;
                         default group 3x3 (one filter plane)
``vsq4``, ``vsq4:16s6``  VS-Quant: integers with an integer scale per vector (default 16 elements, 6-bit scale)
``s2fp8``                shifted and squeezed FP8: E5M2 elements, two FP32 statistics per tensor
``binary``, ``ternary``  signs, or signs and zero, with one FP32 scale per channel
``actnn2``, ``:256``     stash only: 2-bit codes with a bfloat16 minimum and range per group
=======================  ====================================================================================

A format may be written in more than one way (``bfp4`` is ``bfp4:4x4``); :attr:`Format.name` is the shortest one.

Sources: OCP Microscaling Formats (MX) 1.0; OCP 8-bit Floating Point (OFP8) 1.0; AdaPT arXiv 2107.13490; DYNASTY
arXiv 2210.17047 (4x4 blocks, 8-bit exponent); MLS arXiv 2006.02804 (its structure, from the abstract; the text was not at
hand, so the nine bits of a group scale, eight of exponent and one of mantissa, are an assumption); VS-Quant, Dai et al.,
MLSys 2021; S2FP8, Cambier et al., ICLR 2020; XNOR-Net, Rastegari et al., ECCV 2016; Ternary Weight Networks, Li and Liu,
2016; ActNN, Chen et al., ICML 2021, and its code ucbrise/actnn (groups of 256, bfloat16 minimum and scale).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from functools import lru_cache

from dse.errors import InputError
from dse.precision.formats.model import Format

#: Bits of a scale that follows the shape of the tensor (per tensor or per channel): FP32.
SHAPE_SCALE_BITS = 32


@lru_cache(maxsize=4096)
def parse_format(name: str, source: str = "format") -> Format:
    """The format of a name; see the grammar at the top of this module.

    Parameters
    ----------
    source
        What to name in the error, such as the file that holds the name.

    Raises
    ------
    InputError
        The name is no number format; names near matches or the known families.

    >>> parse_format("bfp4").group
    (4, 4)
    """
    result = _read(name)
    if isinstance(result, str):
        raise InputError(source, [result])
    return result


def format_problem(name: object) -> str | None:
    """What is wrong with a format's name, or None: for readers of files that collect all problems.

    >>> format_problem("int3.5").split(";")[0]
    "'int3.5' is no number format"
    """
    result = _read(name) if isinstance(name, str) else f"{name!r} is no number format; known: {KNOWN}"
    return result if isinstance(result, str) else None


KNOWN = (
    "int2 ... int16, fixed16_8, bfp2 ... bfp16, mxint8, mxfp8_e4m3, mxfp8_e5m2, mxfp6_e2m3, mxfp6_e3m2, mxfp4_e2m1, "
    "mls_e2m1, mls_e2m4, vsq4, s2fp8, binary, ternary, actnn2, fp32, tf32, bf16, fp16, fp8_e5m2, fp8_e4m3"
)
_NAMED = ("fp32", "tf32", "bf16", "fp16", "s2fp8", "binary", "ternary", "mxint8")
_NEAR = (
    [*_NAMED, *(f"int{bits}" for bits in range(2, 33)), *(f"uint{bits}" for bits in range(2, 33))]
    + [f"bfp{bits}" for bits in range(2, 17)]
    + ["mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4_e2m1", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1"]
    + ["mls_e2m1", "mls_e2m4", "vsq4", "vsq8", "actnn2", "fixed8_4", "fixed16_8"]
)
_ALIASES = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "half": "fp16",
    "e4m3": "fp8_e4m3",
    "e5m2": "fp8_e5m2",
}
_FLOATS = {  # name: (bits, exponent bits, explicit mantissa bits)
    "fp32": (32, 8, 23),
    "tf32": (32, 8, 10),  # kept in a 32-bit word
    "bf16": (16, 8, 7),
    "fp16": (16, 5, 10),
}


def _read(name: str) -> Format | str:
    text = name.strip().lower()
    text = _ALIASES.get(text, text)
    head, _, option = text.partition(":")
    for pattern, build in _GRAMMAR:
        match = re.fullmatch(pattern, head)
        if match:
            made = build(match, option)
            if made is not None:
                return made
            break
    near = difflib.get_close_matches(head, _NEAR, n=2, cutoff=0.75)
    hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near and near[0] != head else ""
    return f"'{name}' is no number format; known: {KNOWN}{hint}"


def _integer(match: re.Match[str], option: str) -> Format | None:
    unsigned, bits, asymmetric = match[1] == "u", int(match[2]), bool(match[3]) or match[1] == "u"
    if not 2 <= bits <= 32 or (unsigned and match[3]):
        return None
    point_bits = bits if asymmetric else 0
    group, granularity, scale_bits = (0, 0), option or "tensor", SHAPE_SCALE_BITS
    if option.startswith("vector"):
        size = _group(option.removeprefix("vector"))
        if size is None:
            return None
        # FP16: a single level of per-vector scales is kept in half precision; two levels are vsq.
        group, granularity, scale_bits = size, "group", 16
    elif granularity not in ("tensor", "channel"):
        return None
    suffix = f":vector{_group_text(group)}" if granularity == "group" else ":channel" if option == "channel" else ""
    return Format(
        f"{match[0]}{suffix}", "int", bits, signed=not unsigned, zero_point=asymmetric, group=group,
        granularity=granularity, scale_bits=scale_bits + point_bits,
    )  # fmt: skip


def _fixed(match: re.Match[str], option: str) -> Format | None:
    word, fraction = int(match[1]), int(match[2])
    if option or not 2 <= word <= 64 or fraction > 64:
        return None
    return Format(f"fixed{word}_{fraction}", "fixed", word, fraction_bits=fraction)


def _block(match: re.Match[str], option: str) -> Format | None:
    bits, group = int(match[1]), _group(option or "4x4")
    if not 2 <= bits <= 24 or group is None:
        return None
    name = f"bfp{bits}" + (f":{_group_text(group)}" if group != (4, 4) else "")
    return Format(name, "bfp", bits, group=group, granularity="group", scale_bits=8)


def _mx(match: re.Match[str], option: str) -> Format | None:
    group = _group(option or "32")
    if group is None:
        return None
    suffix = f":{_group_text(group)}" if group != (1, 32) else ""
    if match[0] == "mxint8":
        return Format("mxint8" + suffix, "mxint", 8, group=group, granularity="group", scale_bits=8)
    element = _read(match[0].removeprefix("mx"))
    if match[0] not in _NEAR or isinstance(element, str):
        return None
    return Format(
        match[0] + suffix, "mxfp", element.element_bits, element.exponent_bits, element.mantissa_bits, group=group,
        granularity="group", scale_bits=8, specials=element.specials,
    )  # fmt: skip


def _float(match: re.Match[str], option: str) -> Format | None:
    if match[0] in _FLOATS:
        bits, exponent, mantissa = _FLOATS[match[0]]
    else:
        bits, exponent, mantissa = int(match[1]), int(match[2]), int(match[3])
        if bits != 1 + exponent + mantissa or not 1 <= exponent <= 8 or mantissa > 23:
            return None
    if option:
        return None
    # OFP8: E4M3 keeps only one NaN mantissa; the MX elements below eight bits have neither NaN nor infinity.
    specials = "nan" if match[0] == "fp8_e4m3" else "none" if bits < 8 or exponent == 1 else "ieee"
    return Format(match[0], "float", bits, exponent, mantissa, specials=specials)


def _mls(match: re.Match[str], option: str) -> Format | None:
    exponent, mantissa, group = int(match[1]), int(match[2]), _group(option or "3x3")
    if not 1 <= exponent <= 4 or not 0 <= mantissa <= 8 or group is None:
        return None
    name = match[0] + (f":{_group_text(group)}" if group != (3, 3) else "")
    return Format(
        name, "mls", 1 + exponent + mantissa, exponent, mantissa, group=group, granularity="group", scale_bits=9
    )


def _vsq(match: re.Match[str], option: str) -> Format | None:
    bits = int(match[1])
    parts = re.fullmatch(r"([0-9x]*)(?:s([0-9]{1,2}))?", option)
    if parts is None:
        return None
    group, scale_bits = _group(parts[1] or "16"), int(parts[2] or 6)
    if not 2 <= bits <= 16 or group is None or not 1 <= scale_bits <= 16:
        return None
    plain = _group_text(group) + (f"s{scale_bits}" if scale_bits != 6 else "")
    name = f"vsq{bits}" + (f":{plain}" if plain != "16" else "")
    return Format(name, "vsq", bits, group=group, granularity="group", scale_bits=scale_bits)


def _stash(match: re.Match[str], option: str) -> Format | None:
    bits, group = int(match[1]), _group(option or "256")
    if not 1 <= bits <= 8 or group is None:
        return None
    name = match[0] + (f":{_group_text(group)}" if group != (1, 256) else "")
    return Format(name, "actnn", bits, signed=False, zero_point=True, group=group, granularity="group", scale_bits=32)


def _named(match: re.Match[str], option: str) -> Format | None:
    if option:
        return None
    if match[0] == "s2fp8":
        return Format("s2fp8", "s2fp8", 8, 5, 2, granularity="tensor", scale_bits=64, specials="ieee")
    bits = 1 if match[0] == "binary" else 2
    return Format(match[0], match[0], bits, granularity="channel", scale_bits=SHAPE_SCALE_BITS)


def _group(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(?:([1-9][0-9]{0,4})x)?([1-9][0-9]{0,5})", text)
    return (int(match[1] or 1), int(match[2])) if match else None


def _group_text(group: tuple[int, int]) -> str:
    return str(group[1]) if group[0] == 1 else f"{group[0]}x{group[1]}"


_GRAMMAR: list[tuple[str, Callable[[re.Match[str], str], Format | None]]] = [
    (r"(u?)int([0-9]{1,2})(a?)", _integer),
    (r"fixed([0-9]{1,2})_([0-9]{1,2})", _fixed),
    (r"bfp([0-9]{1,2})", _block),
    (r"mxint8|mxfp[468]_e[0-9]m[0-9]", _mx),
    (r"fp32|tf32|bf16|fp16|fp([0-9]{1,2})_e([0-9])m([0-9]{1,2})", _float),
    (r"mls_e([0-9])m([0-9])", _mls),
    (r"vsq([0-9]{1,2})", _vsq),
    (r"actnn([0-9])", _stash),
    (r"s2fp8|binary|ternary", _named),
]
