"""Runs ZigZag's own search in the Python where zigzag-dse and six are installed, and prints its layers as JSON.

`python benchmarks/zigzag_layers.py HARDWARE MAPPING WORKLOAD OBJECTIVE`, each a file name of its inputs without suffix. It needs no
other file, so that it also runs in an environment of its own; `benchmarks/zigzag_hierarchies.py` does that.
"""

# mypy: ignore-errors
from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import time
from importlib.resources import files


def evaluations(found):
    """Cost models of layers in the nested lists that ZigZag's stages return."""
    for model, more in found:
        if isinstance(more, list):
            yield from evaluations(more)
        elif hasattr(model, "layer"):
            yield model


def relation(layer, output, kernel):
    """Stride and dilation of one axis of a layer's window."""
    for known in getattr(layer, "dimension_relations", ()):
        if str(known.dim_2) == output:
            return int(known.coef_2), int(known.coef_3)
        if str(known.dim_3) == output:
            return int(known.coef_3), int(known.coef_2)
    return 1, 1


def described(model):
    """Bounds, window, input without padding, operands' order, energy and cycles of a layer."""
    layer = model.layer
    sizes = {str(dim): int(size) for dim, size in layer.layer_dim_sizes.items()}
    (sh, dh), (sw, dw) = relation(layer, "OY", "FY"), relation(layer, "OX", "FX")
    inputs = {str(dim): int(size) for dim, size in layer.pr_layer_dim_sizes.items()}
    operands = [str(operand) for operand in layer.layer_operands]
    return {
        "name": layer.name,
        "type": str(layer.type),
        "dims": [sizes.get(d, 1) for d in ("B", "G", "K", "C", "OY", "OX", "FY", "FX")],
        "stride": [sh, sw],
        "dilation": [dh, dw],
        "input": [inputs.get("IY"), inputs.get("IX")],
        "operands": operands,
        "energy_pj": float(model.energy_total),
        "cycles": float(model.latency_total2),
    }


def main() -> None:
    """Search, and print."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    hardware, mapping, workload, objective = sys.argv[1:5]
    inputs = files("zigzag") / "inputs"
    logging.disable(logging.CRITICAL)
    busy = time.process_time()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        result = get_hardware_performance_zigzag(
            str(inputs / "workload" / f"{workload}.onnx"),
            str(inputs / "hardware" / f"{hardware}.yaml"),
            str(inputs / "mapping" / f"{mapping}.yaml"),
            opt=objective,
            dump_folder=folder,
            loma_show_progress_bar=False,
        )
    cpu = time.process_time() - busy
    models = [m for m in evaluations(result[2]) if str(m.layer.type).lower() in ("conv", "gemm")]
    text = (inputs / "hardware" / f"{hardware}.yaml").read_text()
    print(json.dumps({"cpu_s": cpu, "hardware": yaml.safe_load(text), "layers": [described(m) for m in models]}))


if __name__ == "__main__":
    main()
