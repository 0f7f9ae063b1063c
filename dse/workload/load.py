"""Workload files: a network as a short list of operations, from which all loop bounds follow.

Shapes are propagated from the input, so a file says only what a designer decides: output channels, filter, stride, padding.
A repeated block is written once under ``blocks`` and called with arguments; ``residual`` and ``concat`` join branches, ``from``
goes back to the output of an earlier layer. Tokens of a sequence are the height of a feature map of width 1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dse.errors import InputError
from dse.shipped import find_file
from dse.workload.from_file.build import MAKERS, Builder
from dse.workload.from_file.expressions import evaluate_expression
from dse.workload.from_file.images import IMAGE_MAKERS
from dse.workload.from_file.schema import WorkloadFile, one_form
from dse.workload.from_file.sequences import SEQUENCE_MAKERS
from dse.workload.layer import Layer, tied_inputs
from dse.workload.model import OPTIMIZERS, Network
from dse.yaml_input import Document, load_yaml, validate

__all__ = ["evaluate_expression", "load_workload", "network_from_document"]


def load_workload(name_or_path: str | Path) -> Network:
    """Read a network.

    Parameters
    ----------
    name_or_path
        A file, or the name of a shipped workload.

    Raises
    ------
    InputError
        All problems of the file with their lines.
    """
    path = find_file(name_or_path, "workloads")
    if path.suffix == ".onnx":
        raise InputError(
            str(path), [f"an ONNX model; 'dse import {path.name} -o {path.stem}.yaml' makes a workload file of it"]
        )
    return network_from_document(load_yaml(path), path.stem)


def network_from_document(document: Document, name: str) -> Network:
    """A network from a document that was already read."""
    file = validate(WorkloadFile, document, one_form)
    assert file.optimizer in OPTIMIZERS
    builder = Builder(document, file, {**MAKERS, **IMAGE_MAKERS, **SEQUENCE_MAKERS})
    builder.run()
    return Network(
        name=file.name or name,
        source=file.source,
        layers=_tied(builder.layers),
        batch=file.batch,
        samples=file.samples,
        epochs=file.epochs,
        optimizer=file.optimizer,
        path=document.source,
        accumulate=file.accumulate,
    )


def _tied(layers: list[tuple[Layer, str]]) -> tuple[Layer, ...]:
    """Layers with MACs that read one tensor share its format: their tie is the tensor's producer, or the network's input."""
    readers: dict[str, int] = {}
    for layer, reads in layers:
        if layer.has_macs:
            readers[reads] = readers.get(reads, 0) + 1
    return tied_inputs(
        replace(layer, tie=reads) if layer.has_macs and reads and readers[reads] > 1 else layer
        for layer, reads in layers
    )
