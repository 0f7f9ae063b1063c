"""When does low precision pay: speed-up of FP8, MXFP8, NVFP4 and MXFP4 over BF16 against the width of a transformer layer.

    python benchmarks/low_precision_pays.py [--tokens 16384] [--picture docs/pictures/low_precision_pays.svg] [--csv FILE]

A layer is a Llama block: four products forward, twice as many backward, SwiGLU 8/3 as wide. Three speed-ups of its
training step on one GPU, by the laws of `dse.system.products`:

- ``products``: the twelve products of quantized operands;
- ``linear``: with quantizing inputs, weights and errors once each;
- ``layer``: with what is the same in every format: fused attention, norms, rotations, SwiGLU, and one update of the weights.

Attention runs at 0.90 of the rate of long BF16 products (the share of the systems' files, FlashAttention-3), five
products backward for two forward; vector passes at the bandwidth share of quantizing. A layer is cut over no other GPU,
and nothing waits for the host.

**Crossover**: the narrowest width from which on a format is faster than BF16 at every wider one, in steps of 128. Its
range: the speed-up is off by the median size of the errors in measured ratios on that GPU or the one nearest to it
(printed), either way: of products with quantizing, and for the whole layer of whole models where those are larger.

Measured points are those of `tests/data/transformer_engine_gemm.csv` and of `low_precision_measured.csv` here; beside
each stands what the model says of that very shape, with its signed error. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from low_precision_gemm import PREQUANTIZED, QUANTIZING, Shape, block_shapes, compare, middle, modelled, summed, turned

from dse.files import write_all
from dse.system.gpu import Gpu, load_gpu
from dse.system.products import LAUNCH_S, RECIPES, Kernel, kernel_s, multiplies, product_s, quantizing_s

HERE = Path(__file__).parent
MEASURED = HERE / "low_precision_measured.csv"
ENGINE = HERE.parent / "tests" / "data" / "transformer_engine_gemm.csv"
GPUS = ("h100", "h200", "b200", "b300", "rtx5090")
FORMATS = {"fp8_current": "FP8", "fp8_row": "FP8 by rows", "mxfp8": "MXFP8", "nvfp4": "NVFP4", "mxfp4": "MXFP4"}
#: Drawn as lines; MXFP4 where it was measured alone.
LINES = dict.fromkeys(GPUS[:-1], ("fp8_current", "mxfp8", "nvfp4")) | {
    "rtx5090": ("fp8_current", "mxfp8", "nvfp4", "mxfp4")
}
SCOPES = ("products", "linear", "layer")
WIDTHS = (512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384)
#: Rate of fused attention over that of long products: `attention_efficiency` of hwmodels/systems/dgx_h100.yaml.
ATTENTION = 0.90
#: Passes over tensors of 16 bits, in widths: two norms with residual sums (four each way), rotations (four each way) ...
PASSES = 24
#: ... and in inner widths: SwiGLU reads two and writes one, backward reads three and writes two.
INNER_PASSES = 8
VECTOR_KERNELS = 8
#: Bits that an update moves per weight: gradient and, read and written, master and two moments in 32 bits; the weight in 16.
UPDATE_BITS = 32 + 2 * (32 + 2 * 32) + 16
#: A Llama 3 8B, whose whole steps were measured: layers, width of keys and values, inner width, words.
LAYERS, KEYS, INNER, WORDS = 32, 1024, 14336, 128256


@dataclass(frozen=True)
class Layer:
    """Seconds of a training step of one layer, by what they are spent on."""

    products: float
    quantizing: float
    other: float

    def within(self, scope: str) -> float:
        """Seconds of one of :data:`SCOPES`."""
        return self.products + (scope != "products") * self.quantizing + (scope == "layer") * self.other


@dataclass(frozen=True)
class Point:
    """A measured speed-up, and the modelled one of its shapes."""

    gpu: str
    format: str
    width: int
    what: str
    measured: float
    modelled: float
    source: str

    @property
    def error(self) -> float:
        return self.modelled / self.measured - 1.0


def layer_of(gpu: Gpu, fmt: str, shapes: list[Shape], width: int, sequence: int) -> Layer:
    """A layer whose forward products are ``shapes``; tokens are their rows."""
    tokens, inner = shapes[0][0], shapes[-1][2]
    turns = [turned(shape, what) for shape in shapes for what in ("fprop", "dgrad", "wgrad")]
    products = sum(product_s(gpu, fmt, *shape) for shape in turns)
    made = sum(quantizing_s(gpu, fmt, float(m * k + n * k + m * n), operands=3) for m, n, k, _ in shapes)
    rate = gpu.peak_macs_per_s["bf16"] * gpu.wide_efficiency * gpu.sustained_share * ATTENTION
    attention = 3.5 * tokens * min(sequence, tokens) * width / rate  # two causal products, half of their MACs each
    vector = kernel_s(gpu, Kernel("vector", 16.0 * (PASSES * width + INNER_PASSES * inner), 0.0), tokens)
    update = kernel_s(gpu, Kernel("update", UPDATE_BITS, 0.0), sum(n * k for _, n, k, _ in shapes))
    return Layer(products, made, attention + vector + update + (VECTOR_KERNELS - 1) * LAUNCH_S)


def speedups(gpu: Gpu, fmt: str, width: int, tokens: int, sequence: int) -> dict[str, float]:
    """Speed-up of every scope over BF16."""
    shapes = block_shapes(width, tokens)
    plain, fast = (layer_of(gpu, name, shapes, width, sequence) for name in ("bf16", fmt))
    return {scope: plain.within(scope) / fast.within(scope) for scope in SCOPES}


def crossover(gained: dict[int, float], by: float) -> int | None:
    """Narrowest width of which and of all wider ones the speed-up times ``by`` is above 1; None: of none."""
    found = None
    for width in sorted(gained, reverse=True):
        if gained[width] * by <= 1.0:
            break
        found = width
    return found


def engine_points() -> list[Point]:
    """Forward, error and gradient products of TransformerEngine's table together, alone and with quantizing each operand anew."""
    lines = [line for line in ENGINE.read_text().splitlines() if not line.startswith("#")]
    rows = [{key.lower(): value for key, value in row.items()} for row in csv.DictReader(lines)]
    gpu, found = load_gpu("b300"), []
    for mode, what in (("prequantized", "products"), ("autocast", "products, each quantized anew")):
        sums = [row for row in rows if row["mode"] == mode and "sum of" in row["what"]]
        shapes = [shape for row in sums for shape in summed(row, rows) or []]
        seconds = {
            key[:-3]: sum(float(row[key]) for row in sums) for key in sums[0] if key.endswith("_ms") and sums[0][key]
        }
        asked = PREQUANTIZED if mode == "prequantized" else QUANTIZING
        base = modelled(gpu, "bf16", shapes, asked)
        for fmt in ("fp8_current", "mxfp8", "nvfp4"):
            ratio, ours = seconds["bf16"] / seconds[fmt], base / modelled(gpu, fmt, shapes, asked)
            found.append(Point("b300", fmt, 4096, what, ratio, ours, "TransformerEngine"))
    return found


def model_speedup(gpu: Gpu, fmt: str, width: int, tokens: int) -> float:
    """A Llama 3 8B's whole step, its last layer in BF16, one sequence."""
    shapes = [
        (tokens, n, k, 1) for n, k in ((width + 2 * KEYS, width), (width, width), (2 * INNER, width), (width, INNER))
    ]
    head = sum(product_s(gpu, "bf16", *turned((tokens, WORDS, width, 1), what)) for what in ("fprop", "dgrad", "wgrad"))
    plain, fast = (LAYERS * layer_of(gpu, name, shapes, width, tokens).within("layer") for name in ("bf16", fmt))
    return (plain + head) / (fast + head)


def points() -> list[Point]:
    """Every measured point with the model's speed-up of its shapes."""
    found = engine_points()
    lines = [line for line in MEASURED.read_text().splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        gpu, fmt, width, tokens = load_gpu(row["gpu"]), row["format"], int(row["width"]), int(row["tokens"])
        if row["what"] == "model":
            ours = model_speedup(gpu, fmt, width, tokens)
        else:
            shapes = block_shapes(width, tokens)
            ours = modelled(gpu, "bf16", shapes, PREQUANTIZED) / modelled(gpu, fmt, shapes, QUANTIZING)
        found.append(Point(row["gpu"], fmt, width, row["what"], float(row["speedup"]), ours, row["source"]))
    return found


def errors_of(found: list[Point]) -> dict[str, dict[str, float]]:
    """Median size of the errors of measured ratios by GPU and scope: of products with quantizing (those of the nearest GPU that has
    some), and of whole models."""
    ratios = float(np.median(np.abs(compare(ENGINE, None).ratios)))
    desktop = float(np.median([abs(p.error) for p in found if p.gpu == "rtx5090"]))
    hopper, blackwell = (
        float(np.median([abs(p.error) for p in found if (p.gpu, p.what) == (name, "model")]))
        for name in ("h100", "b200")
    )
    whole = {"h100": hopper, "h200": hopper, "b200": blackwell, "b300": blackwell, "rtx5090": desktop}
    parts = {name: desktop if name == "rtx5090" else ratios for name in GPUS}
    return {
        name: {"products": parts[name], "linear": parts[name], "layer": max(parts[name], whole[name])} for name in GPUS
    }


def crossovers(name: str, tokens: int, sequence: int, error: dict[str, float]) -> dict[str, dict[str, int | None]]:
    """By format and scope: the width from which on it pays, and the ends of its range."""
    gpu = load_gpu(name)
    every: dict[str, dict[str, int | None]] = {}
    for fmt in LINES[name]:
        if not multiplies(gpu, RECIPES[fmt]):
            continue
        found = {width: speedups(gpu, fmt, width, tokens, sequence) for width in range(512, 16385, 128)}
        every[fmt] = {}
        for scope in SCOPES:
            gained = {width: row[scope] for width, row in found.items()}
            every[fmt][scope] = crossover(gained, 1.0)
            every[fmt][f"{scope} low"] = crossover(gained, 1.0 + error[scope])
            every[fmt][f"{scope} high"] = crossover(gained, 1.0 - error[scope])
    return every


def table(tokens: int, sequence: int) -> list[dict[str, object]]:
    """Lines of the figure: one row per GPU, format and width."""
    rows: list[dict[str, object]] = []
    for name in GPUS:
        gpu = load_gpu(name)
        for fmt in LINES[name]:
            if multiplies(gpu, RECIPES[fmt]):
                for width in WIDTHS:
                    found = speedups(gpu, fmt, width, tokens, sequence)
                    rows.append(
                        {"gpu": name, "format": fmt, "width": width, "tokens": tokens, "sequence": sequence, **found}
                    )
    return rows


def as_csv(rows: list[dict[str, object]], found: list[Point]) -> bytes:
    """The lines, and the points as rows of their own with what was measured, the model's figure and its signed error."""
    out = io.StringIO()
    names = [
        "gpu",
        "format",
        "width",
        "tokens",
        "sequence",
        *SCOPES,
        "what",
        "measured",
        "modelled",
        "signed_error",
        "source",
    ]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    for p in found:
        measured = {
            "measured": round(p.measured, 4),
            "modelled": round(p.modelled, 4),
            "signed_error": round(p.error, 4),
        }
        writer.writerow(
            {"gpu": p.gpu, "format": p.format, "width": p.width, "what": p.what, "source": p.source, **measured}
        )
    return out.getvalue().encode()


def drawing(rows: list[dict[str, object]], found: list[Point], path: Path) -> bytes:
    """A panel for each GPU: lines of the model, circles of measurements, crosses of the model at the measured shapes."""
    from plotly.io import to_image
    from plotly.subplots import make_subplots

    colors = dict(zip(FORMATS, ("#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7"), strict=True))
    dashes = {"products": "dot", "linear": "solid", "layer": "dash"}
    said = {"products": "products alone", "linear": "with quantizing", "layer": "whole layer"}
    figure = make_subplots(cols=len(GPUS), shared_yaxes=True, subplot_titles=list(GPUS), horizontal_spacing=0.015)
    for column, name in enumerate(GPUS, start=1):
        for fmt in LINES[name]:
            mine = [row for row in rows if (row["gpu"], row["format"]) == (name, fmt)]
            for scope in SCOPES:
                figure.add_scatter(
                    x=[row["width"] for row in mine], y=[row[scope] for row in mine], mode="lines", showlegend=False,
                    line={"color": colors[fmt], "dash": dashes[scope], "width": 1.6}, row=1, col=column,
                )  # fmt: skip
        for p in (p for p in found if p.gpu == name):
            style = {"color": colors[p.format], "size": 8}
            ring = {"symbol": "circle-open" if p.what == "model" else "circle"}
            cross = {"symbol": "x-thin", "line": {"width": 1.6, "color": colors[p.format]}}
            for value, marker in ((p.measured, ring), (p.modelled, cross)):
                look = {"mode": "markers", "showlegend": False, "marker": style | marker}
                figure.add_scatter(x=[p.width], y=[value], row=1, col=column, **look)
    grey = "#444444"
    legend = [(FORMATS[fmt], {"line": {"color": color}}, "lines") for fmt, color in colors.items()]
    legend += [(said[scope], {"line": {"color": grey, "dash": dashes[scope]}}, "lines") for scope in SCOPES]
    legend += [("measured, products", {"marker": {"color": grey, "symbol": "circle"}}, "markers")]
    legend += [("measured, whole model", {"marker": {"color": grey, "symbol": "circle-open"}}, "markers")]
    legend += [
        ("modelled, that shape", {"marker": {"symbol": "x-thin", "line": {"width": 1.6, "color": grey}}}, "markers")
    ]
    for label, look, mode in legend:
        figure.add_scatter(x=[None], y=[None], mode=mode, name=label, row=1, col=1, **look)
    figure.add_hline(y=1.0, line={"color": grey, "width": 0.8})
    figure.update_xaxes(type="log", title="width", tickvals=[512, 2048, 8192], showgrid=True, gridcolor="#dddddd")
    figure.update_yaxes(type="log", range=[np.log10(0.45), np.log10(8.5)], gridcolor="#dddddd")
    figure.update_yaxes(tickvals=[0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8])
    figure.update_layout(
        template="none", width=1150, height=460, yaxis_title="speed-up over BF16", margin={"t": 40, "r": 10}
    )
    figure.update_layout(legend={"orientation": "h", "y": -0.2})
    return to_image(figure, path.suffix[1:] or "svg")


def width_text(found: dict[str, int | None], scope: str) -> str:
    """A crossover with its range, such as 1,024 (768 to 1,536)."""

    def one(width: int | None) -> str:
        return "never" if width is None else "below 640" if width <= 512 else f"{width:,}"

    middle, low, high = (one(found[scope + end]) for end in ("", " low", " high"))
    return middle if middle == low == high else f"{middle} ({low} to {high})"


def main() -> None:
    """Print speed-ups, points and crossovers; write picture and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of a step on one GPU")
    parser.add_argument("--sequence", type=int, default=4_096, help="tokens that attention looks back over")
    parser.add_argument("--picture", type=Path, help="also draw the figure (SVG, PNG or PDF; needs kaleido)")
    parser.add_argument("--csv", type=Path, help="also write lines and points of the figure")
    options = parser.parse_args()
    if options.tokens < 1 or options.sequence < 1:
        parser.error("--tokens and --sequence: expected integers >= 1")
    rows, found = table(options.tokens, options.sequence), points()
    print(f"{options.tokens} tokens: over BF16, products alone / with quantizing / whole layer")
    for row in rows:
        print(
            f"{row['gpu']:>8} {row['format']:>12} {row['width']:6}  "
            + " / ".join(f"{row[scope]:5.2f}" for scope in SCOPES)
        )
    for p in found:
        figures = f"measured {p.measured:.2f}, modelled {p.modelled:.2f}"
        print(f"{p.error:+7.1%}  {p.gpu:8s} {p.format:12s} {p.width:6d}  {figures}  {p.what}, {p.source}")
    errors = errors_of(found)
    every = {name: crossovers(name, options.tokens, options.sequence, errors[name]) for name in GPUS}
    for name, formats in every.items():
        for fmt, ends in formats.items():
            texts = ", ".join(f"{scope} {width_text(ends, scope)}" for scope in SCOPES)
            error = f"{errors[name]['linear']:.1%}, whole layer {errors[name]['layer']:.1%}"
            print(f"{name:>8} {fmt:>12} pays from a width of: {texts}; errors {error}")
    files = {}
    if options.csv:
        files[options.csv] = as_csv(rows, found)
    if options.picture:
        files[options.picture] = drawing(rows, found, options.picture)
    write_all(files)
    whole = middle([p.error for p in found if p.what == "model"])
    parts = middle([p.error for p in found if p.what != "model"])
    print(json.dumps({"points": len(found), "products": parts, "models": whole, "crossover": every}))


if __name__ == "__main__":
    main()
