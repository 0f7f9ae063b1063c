"""Which format reaches a given loss first on which GPU: time to equal final loss of BF16, FP8, MXFP4 and NVFP4.

    python benchmarks/format_regions.py [--tokens-per-parameter 100] [--picture docs/pictures/format_regions.svg]

A Llama of a given width (depth = width / 128) is trained in BF16 on so many tokens per parameter; every other format trains the
same network until it has that loss, on the tokens that `dse.load_law("llama_c4")` says, and its steps take the time of
`dse.system.products` for the twelve products of a block, with quantizing inputs, weights and errors once each. A format wins
where its time is the shortest; a cell names it with its time over BF16's and the range that the law's error in the excess allows
(90 %). Where the range holds 1 nothing is found, and the cell ends in a question mark. Left out: attention, norms, optimizer and
communication, which are the same in every format, so that all ratios are further from 1 than a whole step's. The law was
measured up to 103 million parameters, and FP8 never (`law.notes`). The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from low_precision_gemm import block_s, block_shapes

import dse
from dse.system.gpu import Gpu, load_gpu
from dse.system.products import RECIPES, multiplies

#: What is shown by name: format of the products, and recipe of the law: the best measured one of each.
FORMATS = {
    "BF16": ("bf16", "bf16"),
    "FP8": ("fp8_delayed", "fp8_e4m3,error=fp8_e5m2"),
    "MXFP4": ("mxfp4", "mxfp4_quartet"),
    "NVFP4": ("nvfp4", "nvfp4_quartet2"),
}
WIDTHS = (768, 1024, 2048, 4096, 8192)
GPUS = ("h100", "b200", "b300", "rtx5090")
#: Width of a head: layers are as many as heads, as in Llama models.
HEAD = 128
LEVEL = 0.9


@dataclass(frozen=True)
class Cell:
    """A format on a GPU at a width: tokens and time over BF16's, with the ends that the excess' error allows."""

    gpu: str
    width: int
    parameters: float
    format: str
    tokens: float
    speed: float
    low: float
    high: float

    @property
    def time(self) -> float:
        """Time to the loss over that of BF16."""
        return self.tokens / self.speed


def parameters_of(width: int) -> float:
    """Weights of the blocks' linear layers."""
    return float(width // HEAD * sum(n * k for _, n, k, _ in block_shapes(width, 1)))


def cell(law: dse.Law, gpu: Gpu, width: int, name: str, ratio: float, batch: int) -> Cell | None:
    """One format; None where the GPU does not multiply it, or never reaches the loss."""
    fmt, recipe = FORMATS[name]
    if not multiplies(gpu, RECIPES[fmt]):
        return None
    size = parameters_of(width)
    base = size * ratio
    target = float(law.loss(size, base))
    spread = NormalDist().inv_cdf(0.5 + LEVEL / 2) * law.excess_error(size, base, recipe)
    more = []
    for shift in (0.0, spread, -spread):
        try:
            more.append(law.tokens(target + shift, size, recipe) / base)
        except dse.InputError:
            more.append(float("inf"))
    alone, _ = block_s(gpu, "bf16", width, batch)
    products, made = block_s(gpu, fmt, width, batch)
    speed = alone / (products + made)
    return Cell(gpu.name, width, size, name, more[0], speed, min(more[1], more[0]) / speed, more[2] / speed)


def regions(ratio: float, batch: int) -> list[Cell]:
    """Every format on every GPU at every width."""
    law = dse.load_law("llama_c4")
    cells = [
        cell(law, load_gpu(gpu), width, name, ratio, batch) for gpu in GPUS for width in WIDTHS for name in FORMATS
    ]
    return [item for item in cells if item is not None]


def winner(cells: list[Cell]) -> Cell:
    """The format of the shortest time."""
    return min(cells, key=lambda item: item.time)


def said(best: Cell) -> str:
    """A cell of the table."""
    if best.format == "BF16":
        return "BF16"
    high = f"{best.high:.2f}" if best.high < float("inf") else "never"
    return f"{best.format} {best.time:.2f} ({best.low:.2f} to {high}){'?' if best.high >= 1.0 else ''}"


def picture(found: list[Cell], path: Path) -> None:
    """Time over BF16 by width, a panel for each GPU."""
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=len(GPUS), shared_yaxes=True, subplot_titles=list(GPUS))
    for number, name in enumerate(FORMATS):
        for column, gpu in enumerate(GPUS, start=1):
            rows = [item for item in found if (item.gpu, item.format) == (load_gpu(gpu).name, name)]
            if not rows:
                continue
            color = ("#444444", "#0072b2", "#d55e00", "#009e73")[number]
            bars = {
                "type": "data",
                "array": [min(r.high, 9.0) - r.time for r in rows],
                "arrayminus": [r.time - r.low for r in rows],
            }
            figure.add_scatter(
                x=[r.width for r in rows], y=[r.time for r in rows], error_y=bars, name=name, legendgroup=name,
                showlegend=column == 2, line_color=color, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(type="log", title="width", tickvals=list(WIDTHS)).update_yaxes(range=[0, 2.5])
    figure.update_layout(template="none", width=1000, height=360, yaxis_title="time to BF16's loss over BF16's")
    figure.write_image(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tokens-per-parameter", type=float, default=100.0, help="of the BF16 run whose loss is to be reached"
    )
    parser.add_argument("--batch", type=int, default=16_384, help="tokens of a product")
    parser.add_argument("--picture", type=Path, help="also draw times by width (SVG, PNG or PDF; needs kaleido)")
    options = parser.parse_args()
    found = regions(options.tokens_per_parameter, options.batch)
    print(
        f"{'GPU':>8s} {'width':>6s} {'parameters':>11s}  shortest time to the loss of BF16 on "
        f"{options.tokens_per_parameter:g} tokens per parameter"
    )
    best = {}
    for gpu in dict.fromkeys(item.gpu for item in found):
        for width in WIDTHS:
            cells = [item for item in found if (item.gpu, item.width) == (gpu, width)]
            best[f"{gpu} {width}"] = winner(cells)
            every = ", ".join(f"{item.format} {item.tokens:.2f}x tokens {item.speed:.2f}x speed" for item in cells[1:])
            print(f"{gpu:>8s} {width:6d} {cells[0].parameters:11.3g}  {said(winner(cells)):32s} [{every}]")
    if options.picture:
        picture(found, options.picture)
    print(
        json.dumps(
            {
                key: {"format": item.format, "time": round(item.time, 3), "sure": item.high < 1.0}
                for key, item in best.items()
            }
        )
    )


if __name__ == "__main__":
    main()
