"""Matrix products on GPUs by format against measurements: `python benchmarks/low_precision_gemm.py FILE [--hardware GPU]`.

Tables it reads, by their columns in any order (letter case and spaces do not matter):

- ``gpu, mode, what, M, K, N, <format>_ms`` (or ``_us``, ``_s``): TransformerEngine's profile. ``mode`` with "prequantized" is the
  product alone, any other with quantizing. A row without shape whose ``what`` reads "fprop sum of 4" is the sum over the table's
  shapes of that GPU, turned for dgrad and wgrad.
- ``M, N, K`` with ``Computation`` or a column of TFLOPS (and ``#Groups``, ``M per group``, ``format``): DeepGEMM's README. Operands
  are quantized before; FP8 in blocks on an H800 unless the table says otherwise.
- ``gpu, format, achieved_TFLOPs, best_shape_MxNxK``: best shapes, the efficiencies of the GPU files (consistency, no judgement).
- ``*.jsonl``: kernels around products, casts and Hadamard transforms (:mod:`low_precision_kernels`).
- ``n_head...`` with ``fwd_speedup_vs_<format>``: Quartet's forward speed-up of MXFP4 over a Llama block's four products.

Without FILE: speed-ups over BF16 of the twelve products of a Llama block in a training step (`--hardware b300 --tokens 16384`),
alone and with quantizing inputs, weights and errors once each.

One signed error (modelled / measured - 1) per row and format, then one JSON line. What cannot be compared is counted, with why.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import low_precision_kernels
import numpy as np

from dse.errors import InputError
from dse.system.gpu import Gpu, gpu_called, load_gpu
from dse.system.products import RECIPES, multiplies, product_s, quantized_product_s, quantizing_s

#: How tables call formats.
FORMATS = {
    "fp8": "fp8_current",
    "fp8_e4m3": "fp8_current",
    "fp8_tensorwise": "fp8_current",
    "fp8_rowwise": "fp8_row",
    "fp8_blockwise": "fp8_block",
    "fp4": "nvfp4",
}
UNITS = {"ms": 1e-3, "us": 1e-6, "s": 1.0}
#: Tokens of a block where a table does not say, as Quartet's: assumed. Its medians are 10 and 46 % at 8,192,
#: 14 and 53 % at 131,072.
QUARTET_TOKENS = 64 * 512
PREQUANTIZED, QUANTIZING = "prequantized", "with quantizing"

Row = dict[str, str]
Shape = tuple[int, int, int, int]
"""m, n, k, groups."""


@dataclass
class Comparison:
    """What was compared: figures, ratios between formats of a row, and what was skipped and why."""

    figures: list[tuple[str, str, str, float]] = field(default_factory=list)  # row, format, mode, signed error
    ratios: list[float] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    devices: dict[str, Gpu] = field(default_factory=dict)

    def gpu(self, name: str) -> Gpu:
        """The GPU of that file, read once."""
        if name not in self.devices:
            self.devices[name] = load_gpu(name)
        return self.devices[name]


def number(text: str | None) -> float | None:
    """The first number of a cell such as ``206 TFLOPS`` or ``1,058``; None: there is none, or it is not above zero."""
    found = re.search(r"\d[\d,_]*(?:\.\d+)?(?:[eE][-+]?\d+)?|\.\d+", text or "")
    value = float(re.sub(r"[,_]", "", found.group())) if found else 0.0
    return value if value > 0 and math.isfinite(value) else None


def read(path: Path) -> list[Row]:
    """Rows of a table with plain column names; lines that begin with # are comments."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    separator = max(",;\t", key=lines[0].count) if lines else ","
    return [
        {" ".join(key.lower().split()): (value or "").strip() for key, value in row.items() if key}
        for row in csv.DictReader(lines, delimiter=separator)
    ]


def shape_of(row: Row) -> Shape | None:
    """Shape and groups of a row, None where it has none."""
    best = next((value for key, value in row.items() if key.startswith("best_shape")), "")
    parts = re.findall(r"\d+", best)
    if len(parts) == 3:
        m, n, k = map(int, parts)
        return m, n, k, 1
    m, n, k = (number(row.get(name)) for name in "mnk")
    per_group = number(row.get("m per group"))
    groups = number(row.get("#groups") or row.get("groups")) or 1.0
    rows = per_group or m
    return (int(rows), int(n), int(k), int(groups)) if rows and n and k else None


def format_of(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return FORMATS.get(name, name)


def times_of(row: Row) -> dict[str, float]:
    """Measured seconds by format, from columns of times."""
    found = {}
    for key, value in row.items():
        match = re.fullmatch(r"(.+)_(ms|us|s)", key.replace(" ", "_"))
        seconds = number(value)
        if match and seconds:
            found[format_of(match[1])] = seconds * UNITS[match[2]]
    return found


def rate_of(row: Row) -> float | None:
    """Measured operations per second."""
    for key, value in row.items():
        if key.startswith(("computation", "achieved_tflops", "tflops")):
            rate = number(value)
            return rate * (1e15 if "pflops" in value.lower() else 1e12) if rate else None
    return None


def summed(row: Row, rows: list[Row]) -> list[Shape] | None:
    """Shapes that a row "dgrad sum of 4" adds up: those of its pass, else the forward ones turned; of its GPU, if it has any."""
    match = re.search(r"(\w+)?\s*sum of (\d+)", row.get("what", "").lower())
    if not match:
        return None
    what, count = match[1] or "", int(match[2])
    shaped = [other for other in rows if shape_of(other)]
    same = [other for other in shaped if other.get("gpu") == row.get("gpu")] or shaped
    for name in (what, "fprop", ""):
        shapes: list[Shape] = []
        for mode in dict.fromkeys([row.get("mode", ""), *(other.get("mode", "") for other in same)]):
            of_mode = [other for other in same if other.get("mode", "") == mode and name in other.get("what", "").lower()]
            shapes = [shape for other in of_mode if (shape := shape_of(other))]
            if len(shapes) == count:
                return [turned(shape, what) if name != what else shape for shape in shapes]
    return None


def turned(forward: Shape, what: str) -> Shape:
    """The product of the errors (dgrad) or of the weight gradient (wgrad) that belongs to a forward product."""
    m, n, k, groups = forward
    return {"dgrad": (m, k, n, groups), "wgrad": (n, k, m, groups)}.get(what, forward)


def modelled(gpu: Gpu, fmt: str, shapes: list[Shape], mode: str) -> float:
    seconds = product_s if mode == PREQUANTIZED else quantized_product_s
    return sum(seconds(gpu, fmt, m, n, k, groups) for m, n, k, groups in shapes)


def compare_times(row: Row, rows: list[Row], hardware: str | None, out: Comparison) -> None:
    """A row with measured times by format, or with a rate of one format."""
    shape = shape_of(row)
    shapes = [shape] if shape else summed(row, rows)
    if not shapes:
        out.skipped["no shape, and no shapes that it sums"] += 1
        return
    measured, mode = times_of(row), PREQUANTIZED if "mode" not in row or "prequant" in row["mode"].lower() else QUANTIZING
    rate = rate_of(row)
    if not measured and rate:
        given = next((row[key] for key in ("format", "precision", "dtype") if row.get(key)), "fp8_block")
        measured = {format_of(given): sum(2.0 * m * n * k * groups for m, n, k, groups in shapes) / rate}
    called = row.get("gpu") or row.get("device") or ""
    name = hardware or (gpu_called(called) if called else "h800")
    if name is None:
        out.skipped[f"no GPU file for {called}"] += 1
        return
    size = "x".join(map(str, shape)) if shape else ""
    label = " ".join(f"{called or name} {row.get('what') or row.get('section', '')} {size}".split())
    errors: dict[str, float] = {}
    for fmt, seconds in measured.items():
        try:
            errors[fmt] = modelled(out.gpu(name), fmt, shapes, mode) / seconds - 1.0
        except InputError as error:
            out.skipped[" ".join(str(error).split())] += 1
    if not measured:
        out.skipped["no measured time or rate"] += 1
    out.figures += [(label, fmt, mode, error) for fmt, error in errors.items()]
    base = errors.get("bf16", next(iter(errors.values()), 0.0))
    out.ratios += [(1.0 + base) / (1.0 + error) - 1.0 for fmt, error in list(errors.items()) if fmt != "bf16" and len(errors) > 1]


def compare_block(row: Row, heads: int, hardware: str | None, tokens: int, out: Comparison) -> None:
    """A row of Quartet: speed-up of MXFP4 with its quantizing over others without, over the four products of a Llama block."""
    hidden = 128 * heads
    shapes = block_shapes(hidden, tokens)
    gpu = out.gpu(hardware or "rtx5090")
    fast = modelled(gpu, "mxfp4", shapes, QUANTIZING)
    for key, value in row.items():
        match = re.fullmatch(r"(fwd|bwd)_speedup_vs_(\w+)", key)
        speedup = number(value)
        if match and match[1] == "bwd":
            out.skipped["backward of Quartet: its re-quantizing of stored operands is no recipe here"] += 1
        elif match and speedup:
            other = format_of(match[2])
            mode = PREQUANTIZED if other == "bf16" else QUANTIZING
            error = modelled(gpu, other, shapes, mode) / fast / speedup - 1.0
            out.figures.append((f"{gpu.name} block of width {hidden}", f"mxfp4 over {other}", QUANTIZING, error))
            out.ratios.append(error)


def block_shapes(hidden: int, tokens: int) -> list[Shape]:
    """Forward products of a Llama block: queries, keys and values; output; gate and up; down, 8/3 as wide in steps of 256."""
    inner = -(-(8 * hidden // 3) // 256) * 256
    return [(tokens, n, k, 1) for n, k in ((3 * hidden, hidden), (hidden, hidden), (2 * inner, hidden), (hidden, inner))]


def block_s(gpu: Gpu, fmt: str, hidden: int, tokens: int) -> tuple[float, float]:
    """Seconds of a block's forward, error and gradient products, and of quantizing their three operands once each."""
    shapes = block_shapes(hidden, tokens)
    products = [turned(shape, what) for shape in shapes for what in ("fprop", "dgrad", "wgrad")]
    made = sum(quantizing_s(gpu, fmt, float(m * k + n * k + m * n), operands=3) for m, n, k, _ in shapes)
    return sum(product_s(gpu, fmt, *shape) for shape in products), made


def print_block(gpu: Gpu, tokens: int) -> None:
    """Speed-ups over BF16 by width of the block."""
    formats = [fmt for fmt, recipe in RECIPES.items() if fmt not in ("bf16", "mxfp4") and multiplies(gpu, recipe)]
    print(f"{gpu.name}, {tokens} tokens: over BF16, products alone / with quantizing")
    print(f"{'width':>6s} " + " ".join(f"{fmt:>12s}" for fmt in formats))
    for hidden in (1024, 2048, 4096, 8192, 16384):
        base, _ = block_s(gpu, "bf16", hidden, tokens)
        times = [block_s(gpu, fmt, hidden, tokens) for fmt in formats]
        print(f"{hidden:6d} " + " ".join(f"{base / alone:5.2f} / {base / (alone + made):4.2f}" for alone, made in times))


def compare(path: Path, hardware: str | None, tokens: int = QUARTET_TOKENS) -> Comparison:
    """Everything of a table that can be compared."""
    out = Comparison()
    if hardware:
        hardware = gpu_called(hardware) or hardware
        out.gpu(hardware)
    rows = read(path)
    for row in rows:
        heads = next((number(value) for key, value in row.items() if key.startswith("n_head")), None)
        if heads:
            compare_block(row, int(heads), hardware, tokens, out)
        else:
            compare_times(row, rows, hardware, out)
    return out


def middle(errors: list[float]) -> dict[str, float | int]:
    """Number, median size and mean of signed errors."""
    return {"rows": len(errors), "median_abs": round(float(np.median(np.abs(errors))), 4), "bias": round(float(np.mean(errors)), 4)}


def summary(found: Comparison) -> dict[str, object]:
    """The JSON line: figures compared and skipped, sizes of the signed errors, also by format and mode."""
    errors = [error for *_, error in found.figures]
    groups: dict[str, list[float]] = {}
    for _, fmt, mode, error in found.figures:
        for group in (fmt, mode, f"{fmt}, {mode}"):
            groups.setdefault(group, []).append(error)
    return {
        "rows": len(errors),
        "skipped": sum(found.skipped.values()),
        "median_abs": round(float(np.median(np.abs(errors))), 4) if errors else None,
        "mean_abs": round(float(np.mean(np.abs(errors))), 4) if errors else None,
        "worst": round(max(errors, key=abs), 4) if errors else None,
        "bias": round(float(np.mean(errors)), 4) if errors else None,
        "by": {group: middle(values) for group, values in sorted(groups.items())},
        "ratio_median_abs": round(float(np.median(np.abs(found.ratios))), 4) if found.ratios else None,
    }


def main() -> None:
    """Print the signed errors, what was skipped, and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="table of measurements; without it, speed-ups of a block")
    parser.add_argument("--hardware", help="GPU file or name of hwmodels/gpus, instead of the table's own")
    parser.add_argument("--tokens", type=int, default=QUARTET_TOKENS, help="tokens of blocks")
    options = parser.parse_args()
    if options.file and not options.file.is_file():
        parser.error(f"{options.file}: no such file")
    try:
        if not options.file:
            print_block(load_gpu(options.hardware or "b300"), options.tokens)
            return
        if options.file.suffix == ".jsonl":
            low_precision_kernels.report(options.file, options.hardware)
            return
        found = compare(options.file, options.hardware, options.tokens)
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for label, fmt, mode, error in found.figures:
        print(f"{error:+7.1%}  {fmt:14s} {mode:15s} {label}")
    for why, count in found.skipped.items():
        print(f"skipped {count}: {why}")
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
