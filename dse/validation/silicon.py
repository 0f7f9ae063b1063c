"""Rows of the validation table on chips: efficiency, rate, power and area of silicon at its operating point.

A chip is evaluated on a large convolution that fills its array, without DRAM, as efficiencies are published; what a figure includes
stands in the row. Nothing is fitted here: parameters of the price functions rest on the anchors that they name
(:mod:`dse.hardware.prices.technology`, :mod:`dse.hardware.prices.clock`), and the rows say which figures those are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dse.cost import evaluate
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.arrays import STANDING
from dse.hardware.model import Hardware
from dse.hardware.pe import mac_energy_pj, pe_area_mm2
from dse.hardware.prices.memories import sram_read_pj_per_bit, sram_write_pj_per_bit
from dse.hardware.prices.technology import highest_clock_hz, nominal_supply_v
from dse.precision.plans.plan import Plan
from dse.validation.row import Kind, Row, row
from dse.workload.layer import Layer
from dse.workload.model import Network

#: V, supply of efficiencies that say none, which are measured where a chip is most efficient: the mean of those that do (UNPU
#: 0.63, VS-Quant 0.46, Simba 0.42).
BEST_SUPPLY_V = (0.63 + 0.46 + 0.42) / 3
#: A convolution that fills every array below: 2304 output and 768 input channels, 3x3, on 28x28, four images.
FILLING = Network(
    "filling",
    "made up, to fill an array",
    (
        Layer(
            "conv", "conv", 1, 1, 2304, 768, 28, 28, 3, 3, stride=(1, 1), dilation=(1, 1), input_hw=(28, 28),
            bias=False, passes=("forward",),
        ),
    ),
    4,
    1,
    1,
)  # fmt: skip
_CHIPS = Path(str(files("dse.validation") / "chips"))
_DENSE = "chip without DRAM, dense, full use"


@dataclass(frozen=True)
class Figure:
    """A published figure of a chip.

    Attributes
    ----------
    chip, hardware
        Its name and source, and the hardware file that stands for it (a shipped name, or one of ``validation/chips``).
    plan
        Formats of the operation.
    quantity
        ``efficiency`` (TOPS/W), ``rate`` (GOPS), ``power`` (W), ``area`` (mm2) or ``density`` (TOPS/mm2).
    published
        In these units.
    includes
        What the figure includes: DRAM, supply, sparsity, use.
    supply_v
        None: the file's. Below the one of its clock a chip runs as much slower as the alpha-power law says.
    work
        What it ran, where several figures differ in it alone.
    part
        Of an area: the part of :attr:`dse.hardware.HardwareArrays.area_parts` that is meant; "": all but the DRAM's interface.
    note
        Why it is off.
    """

    chip: str
    hardware: str
    plan: str
    quantity: str
    published: float
    includes: str = _DENSE
    supply_v: float | None = None
    part: str = ""
    work: str = ""
    note: str = ""


_UNPU, _VSQ = "UNPU, JSSC 2019", "VS-Quant chip, JSSC 2023"
_RAPID, _TTA = "RaPiD, JSSC 2022", "BrainTTA, arXiv 2211.11331"
_MX, _SIMBA = "MX array, arXiv 2511.06313", "Simba, VLSI 2019"
_V4I, _V1 = "TPUv4i, ISCA 2021", "TPUv1, ISCA 2017"
_LOW = "chip without DRAM, dense; supply of 0.63 to 1.1 V, taken at 0.63"
_TDP = "limit of the board (TDP) with DRAM, not measured on this work; ours at full rate"
_ANCHOR = "anchor of the file's energy of a MAC: limit of the board (TDP) with DRAM, ours at full rate"
_ONE_BIT = "bound by the buffer; the step of one bit rests on this figure"
_ONE_BUFFER = (
    "one buffer for all in ours; by the law of synthesized units, which hold registers of their own, elements alone take "
    "what the chip takes"
)
_OWN = "array and buffers are our own choice"
_GPU_LIMIT = "products on matrix units run at the board's limit; the price of a MAC is what other parts leave of it"
_BEST = "chip without DRAM, dense; supply not told, taken at 0.50 V as chips that tell it"
_SYSTEM = "system with its controllers, dense"
_AROUND = "processors, streamers and interconnect of the system are left out"

FIGURES: tuple[Figure, ...] = (
    Figure(_UNPU, "unpu_like", "w16a16", "rate", 345.6),
    Figure(_UNPU, "unpu_like", "int16,weight=binary", "rate", 7372.0, note=_ONE_BIT),
    Figure(_UNPU, "unpu_like", "w16a16", "efficiency", 3.08, _LOW, 0.63, note=_ONE_BUFFER),
    Figure(_UNPU, "unpu_like", "int16,weight=binary", "efficiency", 50.6, _LOW, 0.63, note=_ONE_BUFFER),
    Figure(
        _UNPU, "unpu_like", "w16a16", "area", 16.0, "die of 4 x 4 mm with pads", note="pads and control are left out"
    ),
    Figure(
        _VSQ,
        "vs_quant",
        "vsq4",
        "efficiency",
        95.6,
        "chip without DRAM, 0.46 V",
        0.46,
        work="benchmark layer",
        note=_OWN,
    ),
    Figure(
        _VSQ, "vs_quant", "vsq4", "efficiency", 38.7, "chip without DRAM, 0.67 V", 0.67, work="BERT-Base", note=_OWN
    ),
    Figure(
        _VSQ, "vs_quant", "vsq4", "efficiency", 38.6, "chip without DRAM, 0.67 V", 0.67, work="ResNet-50", note=_OWN
    ),
    Figure(_RAPID, "rapid_hfp8", "fp8_e4m3", "rate", 26_200.0),
    Figure(_RAPID, "rapid", "w4a4", "rate", 104_900.0),
    Figure(_RAPID, "rapid_hfp8", "fp8_e4m3", "efficiency", 3.58, note=_OWN),
    Figure(_RAPID, "rapid", "w4a4", "efficiency", 16.9, note=_OWN),
    Figure(_RAPID, "rapid", "w4a4", "area", 36.0, "die", note="FP16 and FP32 pipelines, network and pads are left out"),
    Figure(_TTA, "brain_tta_like", "w8a8", "rate", 77.0),
    Figure(_TTA, "brain_tta_like", "ternary", "rate", 307.0),
    Figure(_TTA, "brain_tta_like", "binary", "rate", 614.0),
    Figure(_TTA, "brain_tta_like", "w8a8", "efficiency", 2.47, _BEST, BEST_SUPPLY_V),
    Figure(_TTA, "brain_tta_like", "ternary", "efficiency", 14.9, _BEST, BEST_SUPPLY_V),
    Figure(_TTA, "brain_tta_like", "binary", "efficiency", 28.6, _BEST, BEST_SUPPLY_V),
    Figure(_MX, "mx_array", "mxint8", "rate", 64.0),
    Figure(_MX, "mx_array", "mxfp8_e4m3", "rate", 256.0),
    Figure(_MX, "mx_array", "mxfp4_e2m1", "rate", 512.0),
    Figure(_MX, "mx_array", "mxint8", "efficiency", 0.657, _SYSTEM, note=_AROUND),
    Figure(_MX, "mx_array", "mxfp8_e4m3", "efficiency", 1.438, _SYSTEM, note=_AROUND),
    Figure(_MX, "mx_array", "mxfp6_e2m3", "efficiency", 1.675, _SYSTEM, note=_AROUND),
    Figure(_MX, "mx_array", "mxfp4_e2m1", "efficiency", 4.065, _SYSTEM, note=_AROUND),
    Figure(_SIMBA, "simba_like", "w8a8", "rate", 4010.0, "chip, dense, full use, 1.2 V and 2 GHz"),
    Figure(
        _SIMBA,
        "simba_like",
        "w8a8",
        "efficiency",
        9.1,
        "chip without DRAM, 0.42 V",
        0.42,
        note="0.11 pJ per operation near the threshold: routers, processor and clock domains of a chiplet are left out",
    ),
    Figure(
        _SIMBA,
        "simba_like",
        "w8a8",
        "density",
        1.29,
        "chip, dense, full use",
        note="routers, processor, links between chips and clock generators are left out",
    ),
    Figure(
        "NVDLA, primer",
        "nvdla_like",
        "w8a8",
        "area",
        3.3,
        "estimate of its authors, 16 nm, without interface",
        note="post-processing, control and its second interface are left out",
    ),
    Figure(_V4I, "tpu_v4i_like", "w8a8", "rate", 138_000.0),
    Figure(_V4I, "tpu_v4i_like", "w8a8", "power", 175.0, _TDP, note="a limit, of it 55 W idle"),
    Figure(
        _V4I,
        "tpu_v4i_like",
        "w8a8",
        "area",
        0.11 * 400,
        "four matrix units, 11 % of less than 400 mm2",
        part="pe",
        note="units for bfloat16 with their registers",
    ),
    Figure(_V1, "tpu_v1", "w8a8", "rate", 92_000.0),
    Figure(
        _V1,
        "tpu_v1",
        "w8a8",
        "power",
        40.0,
        "busy die in a server, with DDR3 and PCIe; ours at full rate",
        note="28 W of it idle in both",
    ),
    Figure(
        _V1,
        "tpu_v1",
        "w8a8",
        "area",
        0.24 * 331,
        "matrix unit, 24 % of at most 331 mm2",
        part="pe",
        note="room for wires, control and test between the elements of a floor plan is left out",
    ),
    Figure(_V1, "tpu_v1", "w8a8", "area", 0.29 * 331, "unified buffer, 29 % of at most 331 mm2", part="unified_buffer"),
    Figure("A100, data sheet", "a100", "bf16", "rate", 312_000.0),
    Figure("A100, data sheet", "a100", "bf16", "power", 400.0, _ANCHOR, note=_GPU_LIMIT),
    Figure("MI210, data sheet", "mi210", "bf16", "rate", 181_000.0),
    Figure(
        "MI210, data sheet",
        "mi210",
        "bf16",
        "power",
        300.0,
        _ANCHOR,
        note=_GPU_LIMIT,
    ),
    Figure(
        "DYNASTY chip, JSSC 2024",
        "dynasty_like",
        "bfp4",
        "efficiency",
        13.2,
        _BEST,
        BEST_SUPPLY_V,
        note="mean widths and node are not public; ours 4 bits at 28 nm",
    ),
    Figure(
        "DYNASTY chip, JSSC 2024",
        "dynasty_like",
        "bfp4",
        "density",
        1.07,
        "training chip, fine-grained widths",
        note="mean widths, node and supply are not public; ours 4 bits at 28 nm",
    ),
    Figure(
        "Edge TPU, data sheet",
        "edge_tpu_like",
        "w8a8",
        "efficiency",
        2.0,
        "chip, 4 TOPS at 2 W",
        note="ours is ZigZag's example at 45 nm with its prices; node and supply of the chip are not told",
    ),
    Figure(
        "FP8-SEB, 40 nm",
        "fp8_trainer_40nm",
        "fp8_e4m3",
        "efficiency",
        4.81,
        _BEST,
        BEST_SUPPLY_V,
        note="sums of FP32 in ours",
    ),
)
#: Ratios between formats of one chip: name, hardware, better plan, plan, published, supply.
RATIOS: tuple[tuple[str, str, str, str, float, float | None], ...] = (
    (_MX, "mx_array", "mxfp8_e4m3", "mxint8", 1.438 / 0.657, None),
    (_MX, "mx_array", "mxfp6_e2m3", "mxint8", 1.675 / 0.657, None),
    (_MX, "mx_array", "mxfp4_e2m1", "mxint8", 4.065 / 0.657, None),
    (_MX, "mx_array", "mxfp4_e2m1", "mxfp8_e4m3", 4.065 / 1.438, None),
    (_UNPU, "unpu_like", "int16,weight=binary", "w16a16", 50.6 / 3.08, 0.63),
    (_TTA, "brain_tta_like", "ternary", "w8a8", 14.9 / 2.47, BEST_SUPPLY_V),
    (_TTA, "brain_tta_like", "binary", "ternary", 28.6 / 14.9, BEST_SUPPLY_V),
    (_TTA, "brain_tta_like", "binary", "w8a8", 28.6 / 2.47, BEST_SUPPLY_V),
)
_UNITS: dict[str, tuple[Kind, str]] = {
    "efficiency": ("energy", "TOPS/W"),
    "rate": ("time", "GOPS"),
    "power": ("power", "W"),
    "area": ("area", "mm2"),
    "density": ("area", "TOPS/mm2"),
}


@dataclass(frozen=True)
class Point:
    """A chip at work: GOPS, W and TOPS/W without DRAM and its interface, mm2 without the interface.

    Attributes
    ----------
    logic_w
        Of the power, what follows the node's law of logic: elements, registers, clock network and control.
    """

    gops: float
    watts: float
    area_mm2: float
    logic_w: float = 0.0

    @property
    def tops_per_w(self) -> float:
        return self.gops / 1e3 / self.watts


def silicon_rows() -> list[Row]:
    """All figures of chips, then ratios between formats on one chip."""
    rows = [_row(figure) for figure in FIGURES]
    both = [*RATIOS, (_RAPID, "rapid", "w4a4", "fp8_e4m3", 16.9 / 3.58, None)]
    for chip, name, better, plain, published, supply in both:
        slow = "rapid_hfp8" if name == "rapid" else name
        ours = operating_point(name, better, supply).tops_per_w / operating_point(slow, plain, supply).tops_per_w
        label = f"efficiency of {better} over {plain}"
        note = _ONE_BUFFER if chip == _UNPU else "from the two figures above; what both leave out falls away"
        rows.append(
            row("energy", chip, label, "x", published, ours, note=note, includes="ratio of two figures of the chip")
        )
    return [*rows, *component_rows()]


def component_rows() -> list[Row]:
    """Single operations and memories that no constant rests on."""
    rows = []
    for bits, published in ((8 * 8 * 1024, 10.0), (32 * 8 * 1024, 20.0), (8 * 2**20, 100.0)):
        ours = 64 * float(sram_read_pj_per_bit(bits, 64))
        label = f"64 bits from an SRAM of {bits // 8192} KB"
        rows.append(
            row(
                "energy",
                "Horowitz, ISSCC 2014",
                label,
                "pJ",
                published,
                ours,
                note="a cache against CACTI's scratchpad",
                includes="45 nm",
            )
        )
    for write, published in ((False, 1.88), (True, 2.36)):
        price = sram_write_pj_per_bit if write else sram_read_pj_per_bit
        label = f"a bit {'written to' if write else 'read from'} 128 MB"
        ours = float(price(2**30, 512, 7.0))
        rows.append(
            row(
                "energy",
                _V4I,
                label,
                "pJ",
                published,
                ours,
                note="CACTI 7 beyond its largest array",
                includes="7 nm; AccelForge",
            )
        )
    ratio = _mac("a100", 11) / _mac("fp8_trainer", 4)
    note = "sums of the chip are not told; FP32 in ours, three quarters of an FP8 operation"
    label = "an operation in FP16 over FP8"
    rows.append(
        row("energy", "LNPU, ISSCC 2019", label, "x", 4.0, ratio, note=note, includes="ratio, arithmetic of an element")
    )
    return [*rows, *_fp8_over_int8()]


def _fp8_over_int8() -> list[Row]:
    """An FP8 unit with FP32 sums over one of int8 with sums of 32 bits, by area and energy, against gates that others counted."""
    eight, whole = load_hardware("fp8_trainer").pe, load_hardware("gemmini").pe
    source, said = "Baalen et al., arXiv 2303.17951", "ratio, units alone; published 1.5 to 2.8, here its middle"
    area = float(pe_area_mm2(eight) / pe_area_mm2(whole))
    energy = float(mac_energy_pj(eight, 4, 4) / mac_energy_pj(whole, 8, 8))
    why = "range of their formats and accumulators, by what their hardware analysis calls efficiency of compute"
    sums = "sums of FP32 in ours, by an adder that rounds alone; the lower end has narrower ones"
    return [
        row("area", source, "an FP8 unit over an int8 one, area", "x", 2.15, area, note=why, includes=said),
        row("energy", source, "an FP8 unit over an int8 one, energy", "x", 2.15, energy, note=sums, includes=said),
    ]


def _mac(name: str, significand: int) -> float:
    """By the model, whatever a file gives."""
    return float(mac_energy_pj(replace(load_hardware(name).pe, energy_pj=None), significand, significand))


def _row(figure: Figure) -> Row:
    kind, unit = _UNITS[figure.quantity]
    if figure.quantity == "area":
        arrays = hardware_arrays(_hardware(figure.hardware, None))
        names = [figure.part] if figure.part else [name for name in arrays.area_parts if name != _dram(figure.hardware)]
        ours = float(sum(arrays.area_parts_mm2[0, arrays.area_parts.index(name)] for name in names))
        label = f"area of {figure.part}" if figure.part else "area"
    else:
        point = operating_point(figure.hardware, figure.plan, figure.supply_v)
        ours = {
            "efficiency": point.tops_per_w,
            "rate": point.gops,
            "power": point.watts,
            "density": point.gops / 1e3 / point.area_mm2,
        }[figure.quantity]
        label = f"{figure.quantity}, {figure.plan}"
    label = f"{label}, {figure.work}" if figure.work else label
    note = figure.note or "shown, not held against a bound: mapping and memories of the chip are not ours"
    return row(kind, figure.chip, label, unit, figure.published, ours, note=note, includes=figure.includes)


#: V, supply at which a chip reaches its file's clock, where it is published; else the file's, or the node's nominal one.
CLOCK_SUPPLY_V = {"unpu_like": 1.1, "simba_like": 1.2}


def operating_point(name: str, plan: str, supply_v: float | None = None) -> Point:
    """A chip on :data:`FILLING`, its DRAM free and unlimited."""
    return _points(name, supply_v, _plans_of(name))[_plans_of(name).index(plan)]


class Drawn(NamedTuple):
    """A published efficiency, TOPS/W, and what 90 % of the draws of all prices lie between."""

    chip: str
    plan: str
    published: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        return self.low <= self.published <= self.high


def drawn_efficiencies(figures: Sequence[Figure] = FIGURES, draws: int = 200, seed: int = 0) -> list[Drawn]:
    """Efficiencies of chips under drawn prices (:mod:`dse.hardware.prices.ranges`), without DRAM."""
    found = []
    for figure in figures:
        if figure.quantity != "efficiency":
            continue
        hardware = _hardware(figure.hardware, figure.supply_v)
        free = replace(hardware.memories[-1], read_pj_per_bit=0.0, write_pj_per_bit=0.0)
        chip = replace(hardware, memories=(*hardware.memories[:-1], free))
        cost = evaluate(FILLING, chip, Plan.parse(figure.plan, FILLING), mode="inference", search_mappings=False)
        joules = np.asarray(cost.draws(draws, seed).energy_j).ravel()
        low, high = np.quantile(2e-12 * float(cost.total["macs"].iloc[0]) / joules, (0.05, 0.95))
        found.append(Drawn(figure.chip, figure.plan, figure.published, float(low), float(high)))
    return found


def drawn_markdown() -> str:
    """The table of :func:`drawn_efficiencies`, and how many published figures lie inside."""
    rows = drawn_efficiencies()
    lines = [
        "| chip | format | published, TOPS/W | 90 % of the draws of all prices | inside |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.chip} | {row.plan} | {row.published:g} | {row.low:.3g} to {row.high:.3g} | {'yes' if row.covered else 'no'} |"
        for row in rows
    ]
    inside = sum(row.covered for row in rows)
    return "\n".join([*lines, f"| {inside} of {len(rows)} inside | | | | |"]) + "\n"


def _plans_of(name: str) -> tuple[str, ...]:
    wanted = [figure.plan for figure in FIGURES if figure.hardware == name]
    return tuple(dict.fromkeys(wanted))


@lru_cache(maxsize=64)
def _points(name: str, supply_v: float | None, plans: Sequence[str]) -> list[Point]:
    hardware = _hardware(name, supply_v)
    cost = evaluate(
        FILLING, hardware, [Plan.parse(plan, FILLING) for plan in plans], mode="inference", search_mappings=False
    ).total
    dram = hardware.memories[-1].name
    area = float(cost["area_mm2"].iloc[0])
    logic = [f"{memory.name}_j" for memory in hardware.memories if memory.kind == "register"]
    logic += [] if hardware.pe.energy_pj is not None else ["mac_j"]
    clock = 0.0
    if hardware.clock_pj_per_cycle is None:
        clock = float(hardware_arrays(hardware).leakage_parts_w[0, STANDING.index("clock")])
    found = []
    for _, total in cost.iterrows():
        seconds = float(total["latency_s"])
        watts = float(total["energy_j"] - total[f"{dram}_j"]) / seconds
        switched = float(total[logic].sum()) / seconds + clock
        found.append(Point(2.0 * float(total["macs"]) / seconds / 1e9, watts, area, switched))
    return found


def _dram(name: str) -> str:
    return _hardware(name, None).memories[-1].name


def _hardware(name: str, supply_v: float | None) -> Hardware:
    """A chip with free, unlimited DRAM: what its efficiency is published without."""
    hardware = variant(name)
    dram = replace(hardware.memories[-1], bandwidth_bits_per_cycle=float("inf"))
    chip = replace(hardware, memories=(*hardware.memories[:-1], dram))
    if supply_v is None:
        return chip
    nominal = float(nominal_supply_v(chip.node_nm)) if chip.supply_v is None else chip.supply_v
    fast, slow = (float(highest_clock_hz(chip.node_nm, v)) for v in (CLOCK_SUPPLY_V.get(name, nominal), supply_v))
    return replace(chip, supply_v=supply_v, clock_hz=chip.clock_hz * slow / fast)


def variant(name: str) -> Hardware:
    """The hardware that stands for a chip: a shipped file, or one of ``validation/chips``."""
    if name == "rapid_hfp8":
        rapid = load_hardware(_CHIPS / "rapid.yaml")
        element = replace(
            rapid.pe, modes=rapid.pe.modes[:1], formats=rapid.pe.formats[:1], significand_bits=4, exponent_bits=5
        )
        return replace(rapid, pe=element)
    if name == "fp8_trainer_40nm":
        return replace(load_hardware("fp8_trainer"), node_nm=40.0)
    own = _CHIPS / f"{name}.yaml"
    return load_hardware(own) if own.exists() else load_hardware(name)
