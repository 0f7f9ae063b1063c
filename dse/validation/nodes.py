"""What each anchor says of the energy of logic and memories below 45 nm, and how far the laws are from it."""

from __future__ import annotations

import math
from typing import NamedTuple

from dse.hardware.technology import (
    MAC_7NM_PJ,
    MAC_45NM_PJ,
    SRAM_7NM_PJ,
    SRAM_45NM_PJ,
    energy_scale,
    sram_energy_scale,
)
from dse.validation.row import Row, row


class Anchor(NamedTuple):
    """A figure at a node beside the same at 45 nm; whether a law rests on it."""

    name: str
    node_nm: float
    published: float
    at_45nm: float
    logic: bool
    fitted: bool


#: Operations of an accelerator of Google's (AccelForge's model of TPUv4i), and CACTI 7's own runs at other nodes.
ANCHORS = (
    Anchor("int8 MAC of TPUv4i", 7.0, MAC_7NM_PJ, MAC_45NM_PJ, True, True),
    Anchor("a bit read from 4 MB of TPUv4i", 7.0, SRAM_7NM_PJ[0], SRAM_45NM_PJ[0], False, True),
    Anchor("a bit written to 4 MB of TPUv4i", 7.0, SRAM_7NM_PJ[1], SRAM_45NM_PJ[1], False, True),
)


def node_rows() -> list[Row]:
    """Residual of every anchor, and the exponents that the laws have with it alone."""
    rows = []
    for anchor in ANCHORS:
        scale = energy_scale if anchor.logic else sram_energy_scale
        ours = anchor.at_45nm * float(scale(anchor.node_nm))
        power = math.log(anchor.at_45nm / anchor.published) / math.log(45.0 / anchor.node_nm)
        note = f"an anchor of the law; alone it says (node / 45 nm)^{power:.2f}"
        label = f"{anchor.name}, {anchor.node_nm:g} nm"
        rows.append(
            row(
                "energy",
                "anchors of the nodes",
                label,
                "pJ",
                anchor.published,
                ours,
                note=note,
                includes="anchor of the node's law; AccelForge",
            )
        )
    return rows
