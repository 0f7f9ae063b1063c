"""What the page's script draws, as compact JSON: columns of numbers as base64 of little-endian float32."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.goals import objective_columns
from dse.report.design_text import PLACEHOLDER, design_texts, hardware_part
from dse.report.quantities import quantity
from dse.report.run.data import RunData, hardware_columns, listed
from dse.report.tables.runs import keeps_limit, layers_with_macs
from dse.types import Floats
from dse.units import PREFIXED, energy_parts, memory_parts

#: What bounds the part of a layer's time that conversions between formats take.
CONVERSIONS = "conversions"
#: Numbers of the layers' costs that a page holds at most (4 bytes each, a third more as text): keeps a report under 8 MB.
MAX_DETAIL_NUMBERS = 420_000


def page_data(run: RunData) -> dict[str, Any]:
    """Everything that the script of the page needs, as plain data."""
    designs, front = run.designs.reset_index(drop=True), set(run.front["design"])
    hardware = hardware_columns(run)
    names = [*(name for name in objective_columns() if name in designs), *hardware]
    if "certificate_gap" in designs:
        names.append("certificate_gap")
    if "mapping_gap" in designs:
        names.append("mapping_gap")
    position = {str(design): row for row, design in enumerate(designs["design"])}
    knee = run.knee()
    feasible = designs["feasible"] if "feasible" in designs else pd.Series(True, index=designs.index)
    detail = _detail(run, position)
    return {
        "per": run.per,
        "designs": [str(name) for name in designs["design"]],
        "front": [position[str(name)] for name in run.front["design"]],
        "infeasible": np.flatnonzero(~feasible.astype(str).str.lower().isin(["true", "1"])).tolist(),
        "limits": ["" if pd.isna(x) else str(x) for x in designs["limit"]]
        if "limit" in designs and len(front) < len(designs)
        else [],
        "columns": [_column(name, designs[name], run) for name in names],
        "objectives": [str(name) for name in run.info.get("objectives") or [] if name in names],
        "knee": None if knee is None else position[knee],
        "baselines": [
            {
                **{key: item.get(key) for key in ("name", "role", "design", "note", *objective_columns())},
                "feasible": bool(item.get("feasible", True)),
                "beyond": not keeps_limit(item, run.info.get("max_accuracy_drop_pp")),
            }
            for item in listed(run.info, "baselines")
        ],
        "detail": detail,
        "bits": _bits(run, position),
        "area": _area(run, position),
        "memory": _memory(run, position),
        "plans": _plans(run),
    }


def _column(name: str, values: pd.Series, run: RunData) -> dict[str, Any]:
    what = quantity(name, run.info)
    column: dict[str, Any] = {
        "name": name,
        "label": what.label,
        "unit": what.unit,
        "title": what.title,
        "meaning": what.meaning,
        "prefixed": what.unit in PREFIXED,
    }
    if pd.api.types.is_numeric_dtype(values):
        return {**column, "numbers": _floats(values.to_numpy(dtype=float))}
    codes, words = pd.factorize(values.astype(str), sort=True)
    return {**column, "numbers": _floats(codes.astype(float)), "words": [str(word) for word in words]}


def _detail(run: RunData, position: dict[str, int]) -> dict[str, Any] | None:
    """Costs of the layers by design, layer, pass; passes are summed, then designs dropped, where it would be too much."""
    table = run.layers[run.layers["design"].isin(position)]
    parts = {part.column: part.name for part in energy_parts(table.columns)}
    if not len(table):
        return None
    counts = [name for name in ("macs", "dram_bits") if name in table]
    values = ["latency_s", *parts, *counts]
    # What no compute or memory bounds, such as changes of widths, is named by itself.
    table = table.assign(bound=table["bound"].fillna(table["pass"]) if "bound" in table else "")
    table = layers_with_macs(table)
    layers, passes = list(dict.fromkeys(table["layer"])), list(dict.fromkeys(table["pass"]))
    known = set(table["design"])
    designs = [str(name) for name in run.front["design"] if name in known]
    if not designs:
        return None
    per_design = len(layers) * (1 + len(values))
    if len(designs) * per_design * len(passes) > MAX_DETAIL_NUMBERS:
        table, passes = table.assign(**{"pass": "all passes"}), ["all passes"]
    room = max(MAX_DETAIL_NUMBERS // (per_design * len(passes)), 1)
    kept = designs
    if len(designs) > room:
        wanted = {designs[row] for row in np.linspace(0, len(designs) - 1, room).round().astype(int)} | {run.knee()}
        kept = [name for name in designs if name in wanted]
    row = {name: index for index, name in enumerate(kept)}
    table = table[table["design"].isin(row)]
    d = table["design"].map(row).to_numpy(dtype=np.int64)
    l = table["layer"].map({name: index for index, name in enumerate(layers)}).to_numpy(dtype=np.int64)
    p = table["pass"].map({name: index for index, name in enumerate(passes)}).to_numpy(dtype=np.int64)
    bounds = sorted(set(table["bound"]))
    converting = table["convert_s"] if "convert_s" in table else pd.Series(0.0, index=table.index)
    if (converting > 0).any():
        bounds.append(CONVERSIONS)
    b = table["bound"].map({name: index for index, name in enumerate(bounds)}).to_numpy(dtype=np.int64)
    shape = (len(kept), len(layers), len(passes))
    cube = np.zeros((*shape, len(values)))
    np.add.at(cube, (d, l, p), np.nan_to_num(table[values].to_numpy(dtype=float)))
    time = np.zeros((*shape, len(bounds)))
    np.add.at(time, (d, l, p, b), np.nan_to_num((table["latency_s"] - converting).to_numpy(dtype=float)))
    if CONVERSIONS in bounds:
        np.add.at(time[..., bounds.index(CONVERSIONS)], (d, l, p), np.nan_to_num(converting.to_numpy(dtype=float)))
    return {
        "designs": [position[name] for name in kept],
        "of": len(designs),
        "layers": layers,
        "passes": passes,
        "values": values,
        "parts": list(parts.values()),
        "bounds": [name or "not stated" for name in bounds],
        "bound": _codes(time.argmax(axis=-1)),
        "numbers": _floats(cube),
    }


def _bits(run: RunData, position: dict[str, int]) -> dict[str, Any] | None:
    """Codes of formats by design, phase of the schedule (one without it), layer and operand; 255 is none.

    A design with fewer phases than others has 255 in the rest.
    """
    table = run.bits[run.bits["design"].isin(position)]
    if not len(table):
        return None
    phase = table["phase"].fillna("") if "phase" in table else pd.Series("", index=table.index)
    designs, layers = list(dict.fromkeys(table["design"])), list(dict.fromkeys(table["layer"]))
    operands, formats = list(dict.fromkeys(table["operand"])), sorted(set(table["format"].astype(str)))
    width = dict(zip(table["format"].astype(str), table["bits"], strict=True))
    # Phases are numbered within their design, in order of appearance.
    names: dict[str, dict[str, int]] = {}
    for design, text in zip(table["design"].tolist(), phase.tolist(), strict=True):
        of_design = names.setdefault(design, {})
        of_design.setdefault(text, len(of_design))
    most = max(len(of_design) for of_design in names.values())
    at = [names[design][text] for design, text in zip(table["design"].tolist(), phase.tolist(), strict=True)]
    codes = np.full((len(designs), most, len(layers), len(operands)), 255, dtype=np.uint8)
    rows = [
        table[name]
        .astype(str)
        .map({text: index for index, text in enumerate(texts)})
        .fillna(255)
        .to_numpy(dtype=np.int64)
        for name, texts in (("design", designs), ("layer", layers), ("operand", operands), ("format", formats[:255]))
    ]
    codes[rows[0], np.array(at), rows[1], rows[2]] = rows[3]
    return {
        "designs": [position[str(name)] for name in designs],
        "phases": [list(names[str(name)]) for name in designs] if "phase" in table else [],
        "most": most,
        "layers": layers,
        "operands": operands,
        "formats": formats,
        "widths": [float(width[name]) if pd.notna(width[name]) else None for name in formats],
        "codes": _codes(codes),
    }


def _memory(run: RunData, position: dict[str, int]) -> dict[str, Any] | None:
    """Bits held at the peak of a step by part; of several workloads, those of the one that needs most."""
    table = run.memory[run.memory["design"].isin(position)]
    parts = [part.column for part in memory_parts(table.columns)]
    if not len(table) or not parts:
        return None
    table = table.sort_values("peak_memory_bits", kind="stable").drop_duplicates("design", keep="last")
    return {
        "designs": [position[str(name)] for name in table["design"]],
        "parts": [quantity(name, run.info).label.removeprefix("Memory of ") for name in parts],
        "numbers": _floats(table[parts].to_numpy(dtype=float)),
    }


def _area(run: RunData, position: dict[str, int]) -> dict[str, Any] | None:
    table = run.area[run.area["design"].isin(position)]
    if not len(table):
        return None
    wide = table.pivot_table(index="design", columns="part", values="area_mm2", aggfunc="sum", sort=False).fillna(0.0)
    return {
        "designs": [position[str(name)] for name in wide.index],
        "parts": ["array" if name == "pe" else str(name).replace("_", " ") for name in wide.columns],
        "numbers": _floats(wide.to_numpy(dtype=float)),
    }


def _plans(run: RunData) -> str:
    """The designs' YAML by name, with the hardware that they share apart, as base64 of gzipped JSON: their text repeats itself."""
    texts = design_texts(run)
    if not texts:
        return ""
    content = {"hardware": hardware_part(run), "placeholder": PLACEHOLDER, "texts": texts}
    return base64.b64encode(gzip.compress(json.dumps(content).encode(), 6, mtime=0)).decode()


def _floats(values: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _codes(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.uint8).tobytes()).decode()
