"""Names of number formats.

A format is written as a name. The grammar, with ``B`` a number of bits and ``HxW`` a group of elements that share a scale
(``HxW`` rows by columns of the last two axes, or one number ``N`` for ``1xN``):

=======================  ====================================================================================
``int8``                 signed integer, symmetric range, one FP32 scale per tensor; ``int2`` ... ``int32``
``int8a``, ``uint8``     signed or unsigned integer with a zero point (asymmetric)
``int8:channel``         one FP32 scale per channel
``int4_g128``, ``int4a_g32s32``
                         one FP16 scale per group of 128; one of 32 bits (``s8``: of 8) per 32, with a zero point beside each
                         scale; also written ``int4:vector128``, ``int4a:vector32s32``
``fixed16_8``            two's complement fixed point <word length, fraction length>, scale 2^-8 (AdaPT's <WL, FL>)
``bfp4``, ``bfp6:1x16``  block floating point: B-bit signed mantissas, one 8-bit exponent per block (default 4x4)
``mxint8``, ``mxfp8_e4m3``, ``mxfp8_e5m2``, ``mxfp6_e2m3``, ``mxfp6_e3m2``, ``mxfp4_e2m1``
                         OCP microscaling: 32 elements share an E8M0 scale; ``mxfp4_e2m1:16`` takes another block; ``mxfp8``,
                         ``mxfp6``, ``mxfp4`` are E4M3, E2M3 and E2M1
``nvfp4``, ``:16x16``    E2M1 elements, an E4M3 scale per 16, an FP32 scale per tensor
``nf4``, ``:128``        NormalFloat: sixteen quantiles of the normal distribution, an FP32 scale per 64; multiplied as bf16
``fp8_e4m3``, ``fp16``   floats; also ``fp8_e5m2 bf16 tf32 fp32`` and any ``fpB_eXmY`` with B = 1 + X + Y
``fp8_e4m3:tensor``, ``:row``, ``:128``, ``:128x128``
                         floats of at most 16 bits under an FP32 scale per tensor, per row (token, output channel), per 1x128
                         or 128x128 block, ``:channel``
``fp8_e4m3b11``          a float with a bias of its own and no infinities: ``b11`` the forward format of HFP8 (backward
                         ``fp8_e5m2``; the plan ``hfp8`` is both), ``fp8_e4m3b8`` and ``fp8_e5m2b16`` the fnuz floats
``mls_e2m4``, ``:56x56`` multi-level scaling: unsigned <E, M> elements with a sign, group scale <8, 1>, tensor scale FP32;
                         default group 3x3 (one filter plane)
``vsq4``, ``vsq4:16s6``  VS-Quant: integers with an integer scale per vector (default 16 elements, 6-bit scale)
``s2fp8``                shifted and squeezed FP8: E5M2 elements, two FP32 statistics per tensor
``binary``, ``ternary``  signs, or signs and zero, with one FP32 scale per channel
``actnn2``, ``:256``     stash only: 2-bit codes with a bfloat16 minimum and range per group
=======================  ====================================================================================

A format may be written in more than one way (``bfp4`` is ``bfp4:4x4``); :attr:`Format.name` is the one that tables show. What
each takes in memory follows from the shape of a tensor: :mod:`dse.precision.formats.storage`.

The source of each family stands with its record in ``dse/precision/formats``.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache

from dse.errors import InputError
from dse.precision.formats.families.blocks import BFP, MLS, MXFP, MXINT, NORMAL_FLOAT, NVFP
from dse.precision.formats.families.floats import FLOAT, S2FP8
from dse.precision.formats.families.integers import ACTNN, BINARY, FIXED, INT, TERNARY, VSQ
from dse.precision.formats.model import FAMILIES, Family, Format

_ALIASES = {
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "half": "fp16",
    "e4m3": "fp8_e4m3",
    "e5m2": "fp8_e5m2",
    "mxfp8": "mxfp8_e4m3",
    "mxfp6": "mxfp6_e2m3",
    "mxfp4": "mxfp4_e2m1",
}


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
    result = _read(name) if isinstance(name, str) else f"{name!r} is no number format; known: {known_formats()}"
    return result if isinstance(result, str) else None


def known_formats() -> str:
    """Examples of every family, as errors list them."""
    return ", ".join(example for family in FAMILIES.values() for example in family.known)


def register(family: Family) -> None:
    """Add a family of formats to those that names, plans, quantizers and costs know, or put one in the place of its namesake.

    A family is tried for a name in the order of registration, so that its spellings must not match another family's names.

    Raises
    ------
    InputError
        No spelling, or an example of the family that it does not read itself, or that an earlier family reads.
    """
    problems = [] if family.spellings else ["has no spelling"]
    earlier = [known for known in FAMILIES.values() if known.name != family.name]
    for example in family.near:
        head, _, option = example.partition(":")
        if _matched(family, head, option) is None:
            problems.append(f"does not read its own '{example}'")
        problems += [f"'{example}' is read by {known.name}" for known in earlier if _matched(known, head, option)]
    if problems:
        raise InputError(f"family {family.name}", problems)
    FAMILIES[family.name] = family
    parse_format.cache_clear()


def _matched(family: Family, head: str, option: str) -> Format | None:
    """The format that a family reads, or None."""
    for spelling in family.spellings:
        match = re.fullmatch(spelling.pattern, head)
        if match:
            return spelling.build(match, option)
    return None


def _read(name: str) -> Format | str:
    text = name.strip().lower()
    head, _, option = text.partition(":")
    head = _ALIASES.get(head, head)
    for family in FAMILIES.values():
        made = _matched(family, head, option)
        if made is not None:
            return made
    meant = [family.misnamed[head] for family in FAMILIES.values() if head in family.misnamed]
    names = [name for family in FAMILIES.values() for name in family.near]
    near = meant or difflib.get_close_matches(head, names, n=2, cutoff=0.75)
    hint = f"; did you mean {' or '.join(repr(word) for word in near)}?" if near and near[0] != head else ""
    return f"'{name}' is no number format; known: {known_formats()}{hint}"


for _family in (INT, FIXED, BFP, MXINT, MXFP, NVFP, MLS, VSQ, S2FP8, NORMAL_FLOAT, BINARY, TERNARY, ACTNN, FLOAT):
    register(_family)
