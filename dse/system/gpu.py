"""Data-sheet records of GPUs (``hwmodels/gpus``), from which :mod:`dse.system.products` takes the time of one matrix product."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.shipped import find_file, shipped_folder
from dse.system.from_file.schema import Count, Positive, Share, Text
from dse.yaml_input import Key, load_yaml, validate

#: Elements that multipliers of a GPU take.
Element = Literal["bf16", "fp8", "fp4", "int8"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class PeakFile(_Strict):
    """Peak of products of one element."""

    element: Element
    """What the multipliers take."""
    macs_per_s: Positive
    """Dense multiply-accumulates per second with FP32 (INT8: INT32) sums."""


class GpuFile(_Strict):
    """Top level of a GPU file."""

    name: Text
    """Name of the product."""
    source: Text
    """Where its figures were published."""
    aliases: list[Text] = []
    """How tables of measurements call it, in small letters."""
    peaks: Annotated[list[PeakFile], Field(min_length=1, max_length=8)]
    """Its peaks, each element once, BF16 among them."""
    fed_macs_per_s: Positive
    """MACs per second of 16-bit operands that shared memory feeds in the largest tile."""
    cores: Count
    """Streaming multiprocessors or compute units."""
    lanes_per_core: Count = 128
    """FP32 vector lanes of a core, a multiply-add per clock each (128 on Hopper and Blackwell)."""
    clock_hz: Positive
    """Clock at which the peaks are stated."""
    memory_bytes_per_s: Positive
    """Peak bandwidth of its memory."""
    cache_bytes: Positive
    """Last cache before the memory."""
    block_scales: bool = False
    """Whether its multipliers take a scale per block of 16 or 32 elements (MX formats, NVFP4)."""
    tile_rows: Count
    """Rows of the largest tile of results."""
    tile_columns: Count
    """Columns of it."""
    tile_cores: Count = 1
    """Cores that compute the largest tile together."""
    stores_overlap: bool
    """Whether results are stored while the next tile is computed."""
    efficiency_source: Text
    """What the efficiencies were measured on."""
    wide_efficiency: Share
    """Share of the peak that the best shape reaches in BF16."""
    narrow_efficiency: Share
    """The same of 8 and 4 bit elements."""
    sustained_share: Share = 1.0
    """Clock that long products sustain over that of the best, short shape."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; see :class:`GpuFile` for its figures. ``peak_macs_per_s`` is by element, such as ``{"bf16": 156e12}``."""

    name: str
    peak_macs_per_s: dict[str, float]
    fed_macs_per_s: float
    cores: int
    lanes_per_core: int
    clock_hz: float
    memory_bytes_per_s: float
    cache_bytes: float
    block_scales: bool
    tile_rows: int
    tile_columns: int
    tile_cores: int
    stores_overlap: bool
    wide_efficiency: float
    narrow_efficiency: float
    sustained_share: float
    source: str


def check(file: GpuFile) -> list[tuple[Key, str]]:
    """Rules between keys."""
    found: list[tuple[Key, str]] = []
    elements = [peak.element for peak in file.peaks]
    for index, element in enumerate(elements):
        if element in elements[:index]:
            found.append((("peaks", index, "element"), f"{element} has a peak already"))
    if "bf16" not in elements:
        found.append((("peaks",), "the peak of bf16 is missing"))
    return found


def load_gpu(name_or_path: str | Path) -> Gpu:
    """Read a GPU: a path, or the name of a shipped one (``h100``).

    Raises
    ------
    InputError
        All problems of the file with their lines.
    """
    path = find_file(name_or_path, "hwmodels/gpus")
    file = validate(GpuFile, load_yaml(path), check)
    kept = file.model_dump(exclude={"name", "source", "aliases", "peaks", "efficiency_source"})
    peaks: dict[str, float] = {peak.element: peak.macs_per_s for peak in file.peaks}
    return Gpu(path.stem, peaks, source=" ".join(f"{file.source}; {file.efficiency_source}".split()), **kept)


def gpu_called(text: str) -> str | None:
    """The shipped GPU that a table of measurements calls ``text``, such as ``NVIDIA H100 SXM5``; None: none of them."""
    plain = re.sub(r"\b(nvidia|amd|instinct|sxm\d*|hbm\d*e?|\d+ ?gb)\b", " ", text.lower().replace("-", " "))
    names = _names_in_tables()
    return names.get(" ".join(plain.split())) or names.get(" ".join(text.lower().split()))


@functools.cache
def _names_in_tables() -> dict[str, str]:
    """Shipped GPUs by their names and aliases."""
    found: dict[str, str] = {}
    for path in sorted(shipped_folder("hwmodels/gpus").glob("*.yaml")):
        found |= dict.fromkeys([path.stem, *load_yaml(path).value["aliases"]], path.stem)
    return found
