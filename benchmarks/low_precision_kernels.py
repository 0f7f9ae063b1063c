"""Kernels around low-precision products against measurements: `python benchmarks/low_precision_kernels.py FILE.jsonl`.

FILE has one JSON object per line: ``section`` (and ``path``), ``line`` and ``row``, the cells of a table by their headings, as
torchao's README files give them: casts, ranges, Hadamard transforms, rearranged scales. `low_precision_gemm.py` takes it too.

The law is that of `dse.system.products.kernels`. A kernel's two figures go through its smallest and largest row (``fitted``);
judged are the others, and each size with the kernel fitted on the other sizes (``left out``). One signed error (modelled / measured
- 1) per figure, then one JSON line. What is no kernel, or no kernel known, is counted, with why.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.shipped import shipped_names
from dse.system.gpu import Gpu, load_gpu
from dse.system.products.kernels import LAUNCH_S, TORCHAO_KERNELS, Kernel, kernel_s
from dse.types import Floats

Row = dict[str, str]
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3}
#: GPUs of READMEs that name none: NVFP4 and MX kernels give shares of 8 TB/s.
UNNAMED = (("nvfp4", "b200"), ("mx", "b200"), ("blockwise fp8", "h100"))


@dataclass(frozen=True)
class Figure:
    """One measured time of one kernel; ``fitted``: the kernel's figures go through it."""

    label: str
    gpu: Gpu
    name: str
    kernel: Kernel
    elements: float
    seconds: float
    fitted: bool

    @property
    def error(self) -> float:
        return kernel_s(self.gpu, self.kernel, self.elements) / self.seconds - 1.0


@dataclass
class Found:
    """What was compared, and what was skipped and why."""

    figures: list[Figure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def number(text: str | None) -> float | None:
    found = re.fullmatch(r"\D*(\d[\d,]*(?:\.\d+)?).*", text or "")
    value = float(found[1].replace(",", "")) if found else 0.0
    return value if value > 0 else None


def times_of(row: Row) -> dict[str, float]:
    """Measured seconds by the rest of the column's heading: ``cutedsl_kernel_us`` is "cutedsl kernel"."""
    found = {}
    for key, cell in row.items():
        plain = " ".join(re.split(r"[\s_()]+", key.lower())).strip()
        match = re.fullmatch(r"(.*?)\s*(ns|us|µs|μs|ms)", plain)
        value = number(cell)
        if match and value:
            found[match[1]] = value * UNITS[match[2]]
    return found


def elements_of(row: Row, kernel: Kernel, seconds: float) -> float | None:
    """Elements of the tensor: from its shape, else from the traffic that the row's bandwidth stands for."""
    plain = {re.sub(r"\W+", " ", key.lower()).strip(): cell for key, cell in row.items()}
    shape = plain.get("input shape") or plain.get("shape") or ""
    sizes = [int(size) for size in re.findall(r"\d+", shape.split("@")[0])]
    if len(sizes) >= 2:
        return float(np.prod(sizes))
    m, n = (number(plain.get(name) or plain.get(f"{name} {where}")) for name, where in (("m", "out"), ("n", "in")))
    if m and n:
        return m * n * (number(plain.get("e")) or 1.0)
    rate = next((number(cell) for key, cell in plain.items() if "gb s" in key or "gbps" in key), None)
    return rate * 1e9 * seconds / ((kernel.read_bits + kernel.written_bits) / 8.0) if rate else None


def name_of(text: str, column: str, row: Row, second: bool) -> str | None:
    """Kernel of a table (``text``: its section) and row; ``second``: of the second table of its section."""
    own = " ".join(row.get(key, "") for key in ("kernel", "Kernel", "Mode")).lower()
    every = f"{text} {own}".lower()
    if "_mm" in own or "gemm" in own:
        return None
    if "rearrange" in own:
        return "scale rearrangement along sums" if "k_groups" in own else "scale rearrangement"
    if "mxfp8" in own:
        return "mxfp8 cast"
    if re.search(r"act_quant|weight_quant|wgrad_quant", own):
        return "fp8 block cast, weight" if "weight_quant" in own else "fp8 block cast, activation"
    if "weight amax" in every:
        return "weight amax, vector norm" if "norm" in column else "weight amax, triton"
    made = "cutedsl" if "cutedsl" in column else "triton" if "triton" in column else "triton (event)"
    if "2d" in every and "quantize" in every:
        name = "quantize 2d"
    elif "hadamard quantize" in every:
        name = "hadamard quantize stochastic" if row.get("Rounding", "rtne") != "rtne" else "hadamard quantize"
    elif "hadamard amax" in every:
        name = "hadamard amax"
    else:
        return None
    if "grouped" in text.lower():
        return f"grouped {name}{', slower' * (second and 'quantize' in name and '2d' not in name)} (event)"
    return f"{name}, {made}"


def gpu_of(row: Row, text: str, named: str | None) -> str | None:
    """The GPU of a row: as told, as its cells or headings say, else as the READMEs that name none."""
    if named:
        return named
    said = f"{row.get('gpu', '')} {row.get('device', '')} {text}".lower()
    shipped = [name for name in shipped_names("hwmodels/gpus") if re.search(rf"\b{name}\b", said)]
    return shipped[0] if shipped else next((gpu for words, gpu in UNNAMED if words in said), None)


def compare(path: Path, named: str | None = None) -> Found:
    """Every kernel of a table."""
    out = Found()
    section, line, tables = "", 0, 0
    for text in path.read_text(encoding="utf-8").splitlines():
        if not text.strip():
            continue
        entry = _entry(text, path)
        again = entry.get("section") == section
        tables = tables + (entry.get("line", 0) - line >= 5) if again else 0
        section, line = entry.get("section", ""), entry.get("line", 0)
        words = f"{entry.get('path', '')} {section}".replace("_", " ")
        _compare_row(entry["row"], words, tables > 0, named, out)
    return out


def _entry(text: str, path: Path) -> dict[str, Any]:
    """One line of a table."""
    try:
        entry = json.loads(text)
    except ValueError as error:
        raise InputError(str(path), [f"{error}; each line is a JSON object with section, line and row"]) from None
    if not isinstance(entry, dict) or not isinstance(entry.get("row"), dict):
        raise InputError(str(path), ["each line is a JSON object with section, line and row"])
    entry["row"] = {str(key): str(cell) for key, cell in entry["row"].items()}
    return entry


def _compare_row(row: Row, words: str, second: bool, named: str | None, out: Found) -> None:
    kinds = ("kernel", "triton", "norm")
    times = {at: time for at, time in times_of(row).items() if at in ("", "time") or any(kind in at for kind in kinds)}
    if not times:
        out.skipped["no time of a kernel"] += 1
    for column, seconds in times.items():
        name = name_of(words, column, row, second)
        if name is None or name not in TORCHAO_KERNELS:
            out.skipped[f"no such kernel: {name}" if name else "a product, or no kernel"] += 1
            continue
        kernel, gpu = TORCHAO_KERNELS[name], gpu_of(row, words, named)
        elements = elements_of(row, kernel, seconds)
        if gpu is None or elements is None:
            out.skipped["no GPU is named" if gpu is None else "neither shape nor bandwidth"] += 1
            continue
        label = f"{gpu} {name} {elements / 1e6:.1f} M"
        fitted = any(abs(size / elements - 1.0) < 1e-6 for size in kernel.fitted_elements)
        out.figures.append(Figure(label, load_gpu(gpu), name, kernel, elements, seconds, fitted))


def refitted(kernel: Kernel, gpu: Gpu, elements: Floats, seconds: Floats) -> Kernel:
    """The kernel with its fixed time and operations fitted to measurements by least relative squares, neither below zero."""
    lanes = gpu.cores * gpu.lanes_per_core * gpu.clock_hz
    design = np.stack([1.0 / seconds, elements / seconds], axis=1)
    fixed, slope = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)[0]
    if fixed < LAUNCH_S:
        fixed, slope = LAUNCH_S, float(np.mean((seconds - LAUNCH_S) / elements))
    return dataclasses.replace(kernel, fixed_s=float(fixed), operations=max(float(slope) * lanes, 0.0))


def left_out(figures: list[Figure]) -> list[float]:
    """Signed errors of each size, the kernel fitted on the other sizes of its tables."""
    errors = []
    for name in {figure.name for figure in figures if figure.kernel.fitted_on}:
        same = [figure for figure in figures if figure.name == name]
        for one in same:
            rest = [other for other in same if other.elements != one.elements]
            if len({other.elements for other in rest}) >= 2:
                kernel = refitted(one.kernel, one.gpu, np.array([o.elements for o in rest]), np.array([o.seconds for o in rest]))
                errors.append(kernel_s(one.gpu, kernel, one.elements) / one.seconds - 1.0)
    return errors


def spread(errors: list[float]) -> dict[str, float | int]:
    sizes = np.abs(errors)
    return {"rows": len(errors), "median_abs": round(float(np.median(sizes)), 4), "bias": round(float(np.mean(errors)), 4)}


def summary(found: Found) -> dict[str, object]:
    """The JSON line."""
    errors = [figure.error for figure in found.figures]
    groups: dict[str, list[float]] = {}
    for figure in found.figures:
        for group in (figure.name, "fitted" if figure.fitted else "judged"):
            groups.setdefault(group, []).append(figure.error)
    apart = left_out(found.figures)
    if apart:
        groups["left out"] = apart
    return {
        "rows": len(errors),
        "skipped": sum(found.skipped.values()),
        "median_abs": round(float(np.median(np.abs(errors))), 4) if errors else None,
        "mean_abs": round(float(np.mean(np.abs(errors))), 4) if errors else None,
        "worst": round(max(errors, key=abs), 4) if errors else None,
        "bias": round(float(np.mean(errors)), 4) if errors else None,
        "by": {group: spread(values) for group, values in sorted(groups.items())},
    }


def report(path: Path, named: str | None) -> None:
    """Print the signed errors, what was skipped, and the JSON line."""
    found = compare(path, named)
    for figure in found.figures:
        print(f"{figure.error:+7.1%}  {'fitted' if figure.fitted else 'judged'}  {figure.label}")
    for why, count in found.skipped.items():
        print(f"skipped {count}: {why}")
    print(json.dumps(summary(found)))


def main() -> None:
    """Print what :func:`report` prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--hardware", help="GPU of hwmodels/gpus, instead of the tables' own")
    options = parser.parse_args()
    if not options.file.is_file():
        parser.error(f"{options.file}: no such file")
    try:
        report(options.file, options.hardware)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
