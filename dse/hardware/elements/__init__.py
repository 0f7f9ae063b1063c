"""Families of processing elements: one record each, in one table that everybody reads.

To add a family, write its functions and its :class:`ElementFamily` and add it to :data:`FAMILIES`; from outside the package,
:func:`register` it before a hardware file that names it is read.
"""

from __future__ import annotations

from dse.errors import InputError
from dse.hardware.elements.family import ElementFamily, Extrapolated, Mode, levels, power_of_two
from dse.hardware.elements.floating import FLOAT, MLS
from dse.hardware.elements.parallel import BFP, COMPOSABLE, FIXED, MULTI_MODE
from dse.hardware.elements.serial import BIT_SERIAL, BIT_SERIAL_2D, BIT_SERIAL_LOOKUP
from dse.yaml_input import suggest

__all__ = [
    "FAMILIES",
    "ElementFamily",
    "Extrapolated",
    "Mode",
    "element_family",
    "levels",
    "power_of_two",
    "register",
]

#: Families by their name in a hardware file.
FAMILIES: dict[str, ElementFamily] = {
    family.name: family
    for family in (FIXED, COMPOSABLE, BIT_SERIAL, BIT_SERIAL_LOOKUP, BIT_SERIAL_2D, BFP, MLS, FLOAT, MULTI_MODE)
}


def register(family: ElementFamily) -> None:
    """Make a family known to hardware files and to the model.

    Raises
    ------
    InputError
        Another family has its name.
    """
    if FAMILIES.setdefault(family.name, family) is not family:
        raise InputError("register", [f"a family named '{family.name}' exists"])


def element_family(name: str) -> ElementFamily:
    """The family of a name.

    Raises
    ------
    InputError
        No family has it.
    """
    if name not in FAMILIES:
        raise InputError("pe.family", [f"'{name}' is no family of elements{suggest(name, FAMILIES)}"])
    return FAMILIES[name]
