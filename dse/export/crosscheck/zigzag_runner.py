"""Runs ZigZag on layers that stand on the standard input as JSON, and prints its figures as JSON; needs no other file.

It runs in the Python where zigzag-dse is installed, which need not be the one of this program.
"""

# mypy: ignore-errors
from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from pathlib import Path


def evaluations(found):
    """Cost models of layers in the nested lists that ZigZag's stages return."""
    for model, more in found:
        if isinstance(more, list):
            yield from evaluations(more)
        else:
            yield model


def figures(case, folder):
    """ZigZag's figures of one layer: energy by memory, MACs, cycles."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    names = {}
    for name in ("accelerator", "mapping"):
        names[name] = str(Path(folder) / f"{name}.yaml")
        Path(names[name]).write_text(yaml.safe_dump(case[name], sort_keys=False))
    result = get_hardware_performance_zigzag(
        [case["layer"]],
        names["accelerator"],
        names["mapping"],
        opt="EDP",
        dump_folder=folder,
        loma_show_progress_bar=False,
    )
    model = next(evaluations(result[2]))
    memories = {}
    for operand, parts in model.mem_energy_breakdown.items():
        for level, energy in enumerate(parts):
            held = (
                model.memory_operand_links.layer_to_mem_op(operand) if hasattr(model, "memory_operand_links") else None
            )
            link = held or model.layer.memory_operand_links.layer_to_mem_op(operand)
            memory = model.accelerator.get_memory_level(link, level).memory_instance.name
            memories[memory] = memories.get(memory, 0.0) + float(energy)
    return {
        "memory_pj": memories,
        "mac_pj": float(model.mac_energy),
        "steps": float(model.ideal_temporal_cycle),
        "cycles": float(model.latency_total2),
    }


def main():
    """One result, or the error in words, for each case."""
    logging.disable(logging.CRITICAL)
    cases, results = json.load(sys.stdin), []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            try:
                results.append(figures(case, folder))
            except Exception as error:
                results.append({"error": f"{type(error).__name__}: {error}"})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
