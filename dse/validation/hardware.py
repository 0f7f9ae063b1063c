"""Rows of the validation table on units and chips: Bit Fusion's cycles and synthesis, Eyeriss' silicon."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from dse.cost import evaluate
from dse.cost.jobs.network import layer_runs, network_jobs
from dse.cost.mapped.best_jobs import best_jobs, mapping_of
from dse.cost.mapped.mapping_costs import cost_of_mapping
from dse.cost.mapped.table_jobs import array_shape
from dse.hardware import hardware_arrays, load_hardware
from dse.hardware.pe import pe_mode
from dse.hardware.prices.units_45nm import synthesis_rows
from dse.mapping.best.unrolling import unrollings
from dse.mapping.explicit.counts import ENGINE
from dse.mapping.nest import Nest
from dse.precision.plans.plan import Plan
from dse.studies.systems.accuracy_booster import DENSITY_CLAIM, densities
from dse.validation.eyeriss_chip import MEASURED, built_in_prices, chip_table
from dse.validation.row import Kind, Row, row
from dse.workload import load_workload

#: Bit Fusion's own cycle counts: layer as (N, G, K, C, P, Q, R, S), width of both operands, cycles.
BIT_FUSION_ROWS = (
    ("fully connected, 8 bit", (16, 1, 1000, 8192, 1, 1, 1, 1), 8, 262_144),
    ("fully connected, 4 bit", (16, 1, 8192, 8192, 1, 1, 1, 1), 4, 524_288),
    ("convolution, 4 bit", (16, 1, 384, 384, 14, 14, 3, 3), 4, 2_032_128),
)


@dataclass(frozen=True)
class Simulated:
    """A network in Bit Fusion's simulator at 192 bits per cycle, batch 16, and on Eyeriss at equal area and clock.

    Attributes
    ----------
    bits
        Widths of weights and activations, and those of layers that keep another one: weights, activations.
    cycles, wait_cycles
        Of all layers with MACs, and those of them that wait for DRAM (recorded runs, results/bitfusion-eyeriss-sim-sweep.csv).
    eyeriss_cycles
        The same network, at 16 bits, some with half the channels (results/eyeriss_results.csv).
    """

    bits: str
    kept: dict[str, tuple[str, str]]
    cycles: int
    wait_cycles: int
    eyeriss_cycles: int


_WIDE = ("int8", "int8")
SIMULATED = {
    "bit_fusion_alexnet": Simulated(
        "int4", {"conv1_a": _WIDE, "conv1_b": _WIDE, "fc3": _WIDE}, 37_666_491, 6_793_243, 70_286_336
    ),
    "bit_fusion_svhn": Simulated("binary", {"conv0": ("binary", "int8")}, 1_317_523, 537_171, 11_296_768),
    "bit_fusion_cifar10": Simulated("int2", {"conv0": _WIDE}, 3_293_704, 1_522_120, 44_153_856),
    "bit_fusion_lenet5": Simulated("int2", {}, 410_352, 185_040, 1_117_696),
    "bit_fusion_vgg7": Simulated("int2", {}, 2_822_491, 1_790_299, 21_625_856),
    "bit_fusion_resnet18": Simulated("int4", {"conv1": _WIDE}, 49_079_982, 9_541_294, 95_485_952),
    "bit_fusion_rnn": Simulated("int4", {}, 394_583, 263_511, 1_048_576),
    "bit_fusion_lstm": Simulated("int4", {}, 337_175, 231_383, 820_800),
}
#: Geometric mean of the speed over Eyeriss (ISCA 2018, abstract).
SPEED_OVER_EYERISS = 3.9
#: nn_dataflow's signed errors on the same chip, percent, energy and time, conv1 to conv5 (its test of the chip).
NN_DATAFLOW = {"energy_j": (-44, -42, -26, -15, -9), "time_s": (-16, -15, -12, -10, -4)}
#: Shares of the chip's power after place and route, figure 16 (second hand): layer, part, share.
EYERISS_SHARES = (
    ("conv1", "mac_w", "multipliers and adders", 0.089),
    ("conv5", "mac_w", "multipliers and adders", 0.030),
    ("conv1", "scratchpad_w", "scratchpads", 0.42),
    ("conv5", "scratchpad_w", "scratchpads", 0.33),
)
_EYERISS, _UNIT = "Eyeriss, JSSC 2017", "8-bit unit of Bit Fusion, 45 nm"
_SIMULATOR = "simulator of its authors with DRAM, batch 16"
_CHIP = "chip without DRAM, supply taken as nominal, zeros gated as measured"
#: Units of figures of a synthesized unit.
_SYNTHESIS_UNITS = {"energy": "pj", "area": "um2"}


class ChipFigure(NamedTuple):
    """A figure that the chip's paper gives of each layer.

    column: of :func:`~dse.validation.eyeriss_chip.chip_table`. scale: from its unit to the one shown. why: what is known to part
    the figures.
    """

    kind: Kind
    column: str
    name: str
    unit: str
    scale: float
    tolerance: float
    why: str


EYERISS_FIGURES = (
    ChipFigure(
        "time", "time_s", "time", "ms", 1e3, 0.13,
        "conv4 and conv5 run under one mapping, their published times differ by 1.60 where their work differs by 1.50",
    ),
    ChipFigure(
        "power", "power_w", "power", "mW", 1e3, 0.15,
        "one price for scratchpads of 24 to 448 bytes; control of the elements unpriced",
    ),
    ChipFigure("energy", "energy_j", "energy", "mJ", 1e3, 0.15, "power and time above"),
    ChipFigure("count", "buffer_bits", "buffer accesses", "MB", 1 / 8e6, 0.01, ""),
)  # fmt: skip
#: Figures of a layer that are shown and not claimed: (column, layer) and why.
NOT_CLAIMED = {
    ("buffer_bits", "conv3"): "the text's four sets of filters; two of filters and two of channels give +0 %"
}


def hardware_rows() -> list[Row]:
    """All rows on units and chips."""
    return [*bit_fusion_cycles(), *bit_fusion_networks(), *_synthesis(), *eyeriss_rows(), *shipped_rows()]


def bit_fusion_cycles() -> list[Row]:
    """Cycles on ``bit_fusion``, from its axes and lanes: layers as its simulator published them."""
    source = "Bit Fusion, ISCA 2018"
    return [
        row("time", source, f"cycles, {quantity}", "cycles", cycles, cycles_of(dims, bits, bits), 0.0)
        for quantity, dims, bits, cycles in BIT_FUSION_ROWS
    ]


#: Shipped accelerators without a row of their own chip elsewhere: whose rows judge them. A design of ours names the nearest chip.
JUDGED_BY = {
    "a100": "A100, data sheet",
    "ascend_like": _UNIT,
    "bit_fusion": "Bit Fusion, ISCA 2018",
    "brain_tta_like": "BrainTTA, arXiv 2211.11331",
    "dynasty_like": "DYNASTY chip, JSSC 2024",
    "edge_tpu_like": "Edge TPU, data sheet",
    "eyeriss": _EYERISS,
    "eyeriss_like": _EYERISS,
    "flex_trainer": "Bit Fusion synthesis, 45 nm",  # a design of ours, of these units; Bit Fusion is the nearest chip
    "flexblock_like": "FlexBlock, arXiv 2203.06673",
    "fp32_trainer": "Accuracy Booster, arXiv 2211.10737",  # a design of ours: no FP32 array of its kind was found
    "fp8_trainer": "FP8-SEB, 40 nm",
    "gemmini": "Gemmini, DAC 2021",
    "meta_prototype_like": _UNIT,
    "mi210": "MI210, data sheet",
    "mls_unit": "MLS, arXiv 2006.02804",
    "mx_trainer": "MX array, arXiv 2511.06313",
    "nvdla_like": "NVDLA, primer",
    "simba_like": "Simba, VLSI 2019",
    "stripes_like": "Bit Fusion, ISCA 2018",  # against it
    "tpu_like": _UNIT,
    "tpu_v4i_like": "TPUv4i, ISCA 2021",
    "unpu_like": "UNPU, JSSC 2019",
}
#: mm2 of Gemmini's default in Intel's 22 nm process by part: the paper's table of areas, from memory.
GEMMINI_MM2 = {"array": 0.116, "scratchpad": 0.544, "accumulator": 0.146}


def shipped_rows() -> list[Row]:
    """Shipped accelerators that no chip stands for elsewhere: prices of their MACs, areas, and AlexNet on ``eyeriss_like``."""
    rows = []
    for name in ("tpu_like", "ascend_like", "meta_prototype_like"):
        note = "the price of ZigZag's example, which the file keeps so that the two agree; five times below synthesis"
        ours = float(load_hardware(name).pe.energy_pj or 0.0)
        said = "RTL, dynamic energy of a unit in a 4x4 array at 45 nm"
        rows.append(row("energy", _UNIT, f"8-bit MAC of {name}", "pJ", 0.2034, ours, note=note, includes=said))
    gemmini = replace(load_hardware("gemmini"), node_nm=22.0)
    arrays = hardware_arrays(gemmini)
    area = dict(zip(arrays.area_parts, arrays.area_parts_mm2[0], strict=True))
    parts = {"array": area["pe"] + area["weight_register"], **{key: area[key] for key in ("scratchpad", "accumulator")}}
    for part, published in GEMMINI_MM2.items():
        note = "published figure from memory, not checked; the array holds operands and sums of two dataflows"
        said = "RTL after place and route, 22 nm"
        rows.append(
            row(
                "area",
                "Gemmini, DAC 2021",
                f"area of {part}",
                "mm2",
                published,
                float(parts[part]),
                note=note,
                includes=said,
            )
        )
    for bits, published in ((4, 16.0), (8, 4.0)):
        element = load_hardware("flexblock_like").pe
        rate, slow = (float(m.lanes / m.step_cycles) for m in (pe_mode(element, bits, bits), pe_mode(element, 16, 16)))
        label, said = f"MACs per cycle, {bits} over 16 bits", "most that its modes gain, abstract"
        note = "its array's modes; power and area are not public"
        rows.append(
            row("time", "FlexBlock, arXiv 2203.06673", label, "x", published, rate / slow, note=note, includes=said)
        )
    for name, published in DENSITY_CLAIM.items():
        note = "the law of a float unit's area was chosen among two by these figures"
        said = "anchor of the float unit's area; RTL, whole accelerator"
        label = f"area of an {name} unit over one of 4-bit mantissas"
        rows.append(
            row(
                "area",
                "Accuracy Booster, arXiv 2211.10737",
                label,
                "x",
                published,
                densities()[name],
                note=note,
                includes=said,
            )
        )
    return [*rows, *_eyeriss_like()]


def _eyeriss_like() -> list[Row]:
    """Time and energy of AlexNet's convolutions on ``eyeriss_like`` without DRAM, under the best mapping."""
    network, hardware = load_workload("imagenet_alexnet"), load_hardware("eyeriss_like")
    table = evaluate(
        network, hardware, Plan.parse("w16a16", network), mode="inference", search_mappings=False
    ).layers.set_index("layer")
    energy = (table["energy_j"] - table[f"{hardware.memories[-1].name}_j"]) * 1e3
    rows = []
    for name, chip in MEASURED.items():
        note = "best mapping and nn_dataflow's prices, zeros multiplied, clock network as a price of flip-flops"
        figures: tuple[tuple[Kind, str, float, float], ...] = (
            ("time", "ms", chip.time_s * 1e3, table["latency_s"][name] * 1e3),
            ("energy", "mJ", chip.power_w * chip.time_s * 1e3, energy[name]),
        )
        for kind, unit, published, ours in figures:
            label = f"{kind}, AlexNet {name}, eyeriss_like"
            rows.append(row(kind, _EYERISS, label, unit, published, float(ours), note=note, includes=_CHIP))
    return rows


def judged_markdown(table: pd.DataFrame) -> str:
    """Every shipped accelerator: the source that judges it, its figures of energy, power, area or time, their median error."""
    lines = ["| shipped file | judged by | figures | median error |", "|---|---|---|---|"]
    told = table[table["kind"].isin(("energy", "power", "area", "time"))]
    for name, source in JUDGED_BY.items():
        rows = told[told["source"] == source]
        lines.append(f"| {name} | {source} | {len(rows)} | {rows['signed_error'].abs().median():.0%} |")
    return "\n".join(lines) + "\n"


def network_cycles(name: str) -> tuple[float, float]:
    """Cycles of one of Bit Fusion's networks on ``bit_fusion``, and those that wait for DRAM, as its simulator counts them.

    Inputs are read at their own width, sums as words of 32 bits: with every visit of a tile they are read and written, the first
    one too (bitfusion/src/optimizer/optimizer.py). The mappings are the best of ours.
    """
    run, network, hardware = SIMULATED[name], load_workload(name), load_hardware("bit_fusion")
    plan = Plan.parse(f"{run.bits},result=int32", network)
    for place, operand in enumerate(("weight", "activation")):
        plan = plan.keep({layer: formats[place] for layer, formats in run.kept.items()}, [operand])
    work, arrays = network_jobs(network, hardware, [plan], "inference"), hardware_arrays(hardware)
    jobs = replace(work.jobs, dram_bits=work.jobs.stored_bits[:, :2].copy())
    costs = best_jobs(hardware, arrays, jobs, searched=False)
    visits = replace(ENGINE, first_partial_sum="counted")
    cycles = computing = 0.0
    for item in layer_runs(network, work):
        found = mapping_of(hardware, arrays, jobs, costs, item.job)
        one, _ = cost_of_mapping(found, item.job, hardware, arrays, jobs, visits)
        cycles += item.times * one["cycles"]
        computing += item.times * one["compute_cycles"]
    return cycles, cycles - computing


def bit_fusion_networks() -> list[Row]:
    """Cycles of its eight networks, waiting for memory among them, and the mean speed over Eyeriss."""
    source, rows, speeds = "Bit Fusion, ISCA 2018", [], []
    why = (
        "tiles are the best of ours; as there, tiles take half of a buffer and sums are read with every visit of theirs"
    )
    for name, run in SIMULATED.items():
        cycles, waits = network_cycles(name)
        speeds.append(run.eyeriss_cycles / cycles)
        busy = (run.cycles - run.wait_cycles, cycles - waits)
        rows.append(row("time", source, f"cycles of elements, {name}", "cycles", *busy, 0.03, includes=_SIMULATOR))
        for label, published, ours in (("cycles", run.cycles, cycles), ("waiting for DRAM", run.wait_cycles, waits)):
            rows.append(
                row("time", source, f"{label}, {name}", "cycles", published, ours, note=why, includes=_SIMULATOR)
            )
    mean = math.exp(sum(map(math.log, speeds)) / len(speeds))
    note = "its own cycles of Eyeriss, some networks with half the channels there, as published"
    label = "speed over eyeriss, geometric mean of its eight networks"
    return [*rows, row("time", source, label, "x", SPEED_OVER_EYERISS, mean, note=note, includes=_SIMULATOR)]


def cycles_of(dims: tuple[int, int, int, int, int, int, int, int], weight_bits: int, activation_bits: int) -> float:
    """Fewest compute cycles of a convolution on ``bit_fusion``."""
    hardware = load_hardware("bit_fusion")
    sizes = [axis.size for axis in hardware.axes]
    lanes = int(pe_mode(hardware.pe, weight_bits, activation_bits).lanes)
    found = unrollings(Nest(dims), array_shape(hardware, sizes, "forward"))
    return float(min(u.steps_other * -(-u.steps_reduction // lanes) for u in found))


def _synthesis() -> list[Row]:
    return [
        row(
            found.quantity,
            "Bit Fusion synthesis, 45 nm",
            f"{found.quantity} of a {found.name}",
            _SYNTHESIS_UNITS[found.quantity],
            found.published,
            found.ours,
            0.10,
            "law through all rows of a kind; flexible units are its points",
            "anchor of the element's law; synthesis before layout",
        )
        for found in synthesis_rows()
    ]


def eyeriss_rows() -> list[Row]:
    """Power, time, energy and buffer accesses of AlexNet's convolutions on the chip, batch 4, 200 MHz, without DRAM."""
    hardware = load_hardware("eyeriss")
    table = chip_table(hardware)
    return [*_by_layer(table), _all_layers(table), *_shares(table), *_built_in(chip_table(built_in_prices(hardware)))]


def _by_layer(table: pd.DataFrame) -> list[Row]:
    """Each figure of each layer; where another model of the chip has an error it stands beside ours."""
    rows = []
    for figure in EYERISS_FIGURES:
        for index, layer in enumerate(table.to_dict("records")):
            note, within = figure.why, figure.tolerance
            if figure.column in NN_DATAFLOW:
                note = f"{note}; nn_dataflow {NN_DATAFLOW[figure.column][index]:+d} %"
            if (figure.column, layer["layer"]) in NOT_CLAIMED:
                note, within = NOT_CLAIMED[figure.column, layer["layer"]], math.nan
            rows.append(
                row(
                    figure.kind,
                    _EYERISS,
                    f"{figure.name}, AlexNet {layer['layer']}",
                    figure.unit,
                    layer[f"published_{figure.column}"] * figure.scale,
                    layer[figure.column] * figure.scale,
                    within,
                    note,
                    _CHIP,
                )
            )
    return rows


def _all_layers(table: pd.DataFrame) -> Row:
    total = table[["published_energy_j", "energy_j"]].sum() * 1e3
    label, published, ours = "energy, AlexNet conv1-5", total["published_energy_j"], total["energy_j"]
    return row("energy", _EYERISS, label, "mJ", published, ours, 0.10, "sum of the five", _CHIP)


def _shares(table: pd.DataFrame) -> list[Row]:
    """Shares of the chip's power."""
    rows = []
    by_layer = table.set_index("layer")
    for layer_name, part, name, share in EYERISS_SHARES:
        ours = by_layer[part][layer_name] / by_layer["power_w"][layer_name]
        note = "post-place-and-route simulation, figure 16, read second hand"
        rows.append(
            row("power", _EYERISS, f"share of {name}, {layer_name}", "", share, float(ours), note=note, includes=_CHIP)
        )
    return rows


def _built_in(table: pd.DataFrame) -> list[Row]:
    """Energy under built-in prices."""
    rows = []
    for layer in table.to_dict("records"):
        note = "scratchpads and buffer by CACTI and Aladdin instead of the authors' table, no network"
        rows.append(
            row(
                "energy",
                _EYERISS,
                f"energy, AlexNet {layer['layer']}, built-in prices",
                "mJ",
                layer["published_energy_j"] * 1e3,
                layer["energy_j"] * 1e3,
                note=note,
                includes=_CHIP,
            )
        )
    return rows
