"""ZigZag's own search over its ResNet-18 on its tpu_like, where zigzag-dse is installed (extra `benchmark`)."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Search:
    """What one search over the network found: sums over its convolutions and its classifier, and the time that it took."""

    layers: int
    energy_pj: float
    cycles: float
    cpu_s: float
    wall_s: float


def installed() -> bool:
    """Whether zigzag-dse can be imported, with the packages that it forgets to name."""
    return all(importlib.util.find_spec(name) is not None for name in ("zigzag", "six"))


def search(objective: str) -> Search:
    """Run ZigZag's search for `energy` or `latency` with its defaults, on the files that it ships."""
    from zigzag.api import get_hardware_performance_zigzag

    inputs = files("zigzag") / "inputs"
    logging.disable(logging.CRITICAL)
    start, busy = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        result = get_hardware_performance_zigzag(
            str(inputs / "workload" / "resnet18.onnx"),
            str(inputs / "hardware" / "tpu_like.yaml"),
            str(inputs / "mapping" / "tpu_like.yaml"),
            opt=objective,
            dump_folder=folder,
            loma_show_progress_bar=False,
        )
    cpu, wall = time.process_time() - busy, time.perf_counter() - start
    logging.disable(logging.NOTSET)
    models = [m for m in _evaluations(result[2]) if str(m.layer.type).lower() in ("conv", "gemm")]
    energy, cycles = (sum(float(getattr(m, name)) for m in models) for name in ("energy_total", "latency_total2"))
    return Search(len(models), energy, cycles, cpu, wall)


def _evaluations(found: Any) -> Iterator[Any]:
    """Cost models of single layers in the nested lists that ZigZag's stages return."""
    for model, more in found:
        if isinstance(more, list):
            yield from _evaluations(more)
        elif hasattr(model, "layer"):
            yield model
