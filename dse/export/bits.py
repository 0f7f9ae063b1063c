"""Bit configurations for trainers and quantizers: plain JSON, Brevitas, HAWQ, and metadata of an ONNX model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from dse.errors import InputError
from dse.export.design import Design
from dse.files import read_bytes
from dse.names import MAC_OPERANDS
from dse.precision.formats.properties import Format
from dse.precision.plans.cells import Cell, Histogram

#: A protobuf message cannot be larger.
MAX_MODEL_BYTES = 2**31 - 1
#: Accumulated sums of HAWQ-V3's residual units are kept at 16 bits in every one of its maps (bit_config.py).
_HAWQ_SUM_BITS = 16


def json_text(design: Design) -> str:
    """The bit map with formats and widths by layer and operand, the hardware values and the figures, as JSON."""
    return _json(
        {
            "design": design.name,
            "network": design.network.name,
            "mode": design.mode,
            "figures": dict(design.figures),
            "hardware": {"name": design.hardware.name, **{key: _plain(value) for key, value in design.values.items()}},
            "layers": {
                name: {operand: _described(cell) for operand, cell in cells.items()}
                for name, cells in _cells(design).items()
            },
        }
    )


def brevitas_text(design: Design) -> str:
    """Keyword arguments of Brevitas' quantized layers (``QuantConv2d``, ``QuantLinear``) by layer name, as JSON.

    Quantizers are named by their path in the package; the errors' formats, which Brevitas does not quantize, stand beside them
    under ``error``; an inference has none. Source: Brevitas 0.13, ``brevitas.quant`` (scaled_int, float, mx_quant_ocp,
    binary, ternary).

    Raises
    ------
    InputError
        Formats that Brevitas has no quantizer for, all at once.
    """
    problems: list[str] = []
    layers: dict[str, Any] = {}
    for name, cells in _cells(design).items():
        entry: dict[str, Any] = {}
        for operand, prefix, kind in (("weight", "weight", "Weight"), ("activation", "input", "Act")):
            cell = cells[operand]
            found = _brevitas(cell, kind) if isinstance(cell, Format) else None
            if found is None:
                problems.append(f"{name}: Brevitas has no quantizer for {operand} in {cell}")
                continue
            quantizer, settings = found
            entry[f"{prefix}_quant"] = quantizer
            entry |= {f"{prefix}_{key}": value for key, value in settings.items()}
        if "error" in cells:
            entry["error"] = str(cells["error"])
        layers[name] = entry
    if problems:
        raise InputError("--to brevitas", problems)
    return _json(layers)


#: Path of a quantizer and its settings; no path for fp32.
_Brevitas: TypeAlias = "tuple[str | None, dict[str, int]]"


def _brevitas(form: Format, kind: str) -> _Brevitas | None:
    """Brevitas' quantizer of a format for ``Weight`` or ``Act``, None where there is none."""
    found = _BREVITAS.get(form.family)
    return found(form, kind) if found else None


def _brevitas_integer(form: Format, kind: str) -> _Brevitas | None:
    if form.zero_point or not form.signed or form.granularity == "group":
        return None
    scope = "PerChannel" if form.granularity == "channel" and kind == "Weight" else "PerTensor"
    return f"brevitas.quant.scaled_int.Int8{kind}{scope}Float", {"bit_width": form.element_bits}


def _brevitas_fixed(form: Format, kind: str) -> _Brevitas | None:
    return f"brevitas.quant.fixed_point.Int8{kind}PerTensorFixedPoint", {"bit_width": form.element_bits}


def _brevitas_float(form: Format, kind: str) -> _Brevitas | None:
    if form.element_bits == 32:
        return None, {}
    settings = {"bit_width": form.element_bits, **_fields(form)}
    return f"brevitas.quant.float.Fp8e4m3{kind}PerTensorFloat", settings


def _brevitas_mx_integer(form: Format, kind: str) -> _Brevitas | None:
    return f"brevitas.quant.mx_quant_ocp.MXInt8{kind}", {"bit_width": 8, "group_size": form.group_elements}


def _brevitas_mx_float(form: Format, kind: str) -> _Brevitas | None:
    settings = {"bit_width": form.element_bits, "group_size": form.group_elements, **_fields(form)}
    return f"brevitas.quant.mx_quant_ocp.MXFloat8e4m3{kind}", settings


def _brevitas_signs(form: Format, kind: str) -> _Brevitas | None:
    return f"brevitas.quant.{form.family}.Signed{form.family.title()}{kind}PerTensorConst", {}


def _fields(form: Format) -> dict[str, int]:
    return {"exponent_bit_width": form.exponent_bits, "mantissa_bit_width": form.mantissa_bits}


#: By family of formats; what is not here Brevitas does not have.
_BREVITAS: dict[str, Callable[[Format, str], _Brevitas | None]] = {
    "int": _brevitas_integer,
    "fixed": _brevitas_fixed,
    "float": _brevitas_float,
    "mxint": _brevitas_mx_integer,
    "mxfp": _brevitas_mx_float,
    "binary": _brevitas_signs,
    "ternary": _brevitas_signs,
}


def hawq_text(design: Design) -> str:
    """A bit map in the form of HAWQ-V3's ``bit_config.py``: one width per module of its quantized ResNets, as JSON.

    Layers with torchvision's names of ResNets become HAWQ's ``stageS.unitU.quant_...``: ``quant_act`` is what the unit reads,
    ``quant_act1`` what its second convolution reads. Other networks get ``LAYER.quant_weight`` and ``LAYER.quant_act``. Widths
    are those of weights and activations; HAWQ does not train in low precision. Source: github.com/Zhen-Dong/HAWQ, commit
    1616df6, bit_config.py.
    """
    widths = {
        name: {operand: _width(cell) for operand, cell in cells.items()} for name, cells in _cells(design).items()
    }
    blocks = {match[1]: match for name in widths if (match := re.fullmatch(r"(layer(\d)\.(\d+))\.conv1", name))}
    if not blocks or "conv1" not in widths or "fc" not in widths:
        plain: dict[str, int] = {}
        for name, width in widths.items():
            plain |= {f"{name}.quant_weight": width["weight"], f"{name}.quant_act": width["activation"]}
        return _json(plain)
    bottleneck = any(name.endswith(".conv3") for name in widths)
    first = "quant_init_convbn" if bottleneck else "quant_init_block_convbn"
    result = {
        "quant_input": widths["conv1"]["activation"],
        first: widths["conv1"]["weight"],
        "quant_act_int32": _HAWQ_SUM_BITS,
    }
    for block, match in blocks.items():
        unit = f"stage{match[2]}.unit{int(match[3]) + 1}"
        for number in (1, 2, 3):
            entry = widths.get(f"{block}.conv{number}")
            if entry is None:
                continue
            result[f"{unit}.quant_act{number - 1 or ''}"] = entry["activation"]
            result[f"{unit}.quant_convbn{number}"] = entry["weight"]
        shortcut = widths.get(f"{block}.downsample.0")
        if shortcut is not None:
            result[f"{unit}.quant_identity_convbn"] = shortcut["weight"]
        result[f"{unit}.quant_act_int32"] = _HAWQ_SUM_BITS
    return _json({**result, "quant_act_output": widths["fc"]["activation"], "quant_output": widths["fc"]["weight"]})


def onnx_text(design: Design) -> str:
    """``metadata_props`` of an ONNX model: ``dse.LAYER.OPERAND`` with the format of each, as JSON."""
    return _json(_metadata(design))


def onnx_model(design: Design, model: Path) -> bytes:
    """A given ONNX model with the bit map in it: metadata of the model and of each node whose name is a layer's.

    Raises
    ------
    InputError
        The onnx extra is missing, the file is no ONNX model, or none of its nodes has a layer's name.
    """
    try:
        import onnx
    except ImportError:
        raise InputError("--model", ["needs the onnx package: pip install 'lowprec-dse[onnx]'"]) from None
    content = read_bytes(model, MAX_MODEL_BYTES, "an ONNX model")
    try:
        graph = onnx.load_model_from_string(content)
    except Exception as error:
        # What is no model raises a class of protobuf, which the onnx package does not hand on.
        if not isinstance(error, ValueError) and type(error).__name__ != "DecodeError":
            raise
        raise InputError(str(model), [f"cannot be read as an ONNX model: {error}"]) from None
    cells = _cells(design)
    found = 0
    for node in graph.graph.node:
        name = next((text for text in _spellings(node.name) if text in cells), None)
        if name is None:
            continue
        found += 1
        for operand, cell in cells[name].items():
            entry = node.metadata_props.add()
            entry.key, entry.value = f"dse.{operand}", str(cell)
    if not found:
        names = ", ".join(node.name for node in list(graph.graph.node)[:3])
        raise InputError(str(model), [f"no node has the name of a layer with MACs; its nodes are {names} ..."])
    onnx.helper.set_model_props(graph, {**{x.key: x.value for x in graph.metadata_props}, **_metadata(design)})
    return bytes(graph.SerializeToString())


def _spellings(node: str) -> tuple[str, ...]:
    """A node's name, and the module that PyTorch's exporter made it from: ``/layer1/layer1.0/conv1/Conv`` is layer1.0.conv1."""
    parts = [part for part in node.split("/") if part][:-1]
    kept = [part for n, part in enumerate(parts) if n + 1 == len(parts) or not parts[n + 1].startswith(f"{part}.")]
    return (node, ".".join(kept))


def _metadata(design: Design) -> dict[str, str]:
    result = {"dse.design": design.name, "dse.network": design.network.name}
    for name, cells in _cells(design).items():
        result |= {f"dse.{name}.{operand}": str(cell) for operand, cell in cells.items()}
    return result


def _cells(design: Design) -> dict[str, dict[str, Cell]]:
    """Cells of the layers with MACs; in inference there are no errors."""
    operands = MAC_OPERANDS if design.mode == "training" else MAC_OPERANDS[:2]
    at = {layer: number for number, layer in enumerate(design.plan.layers)}
    rows = {operand: design.plan.cells(operand) for operand in operands}
    return {
        layer.name: {operand: row[at[layer.name]] for operand, row in rows.items()}
        for layer in design.network.mac_layers
    }


def _described(cell: Cell) -> dict[str, Any]:
    if isinstance(cell, Histogram):
        shares = {form.name: share for form, share in zip(cell.formats, cell.shares, strict=True)}
        return {"block": list(cell.block), "shares": shares, "bits": _width(cell)}
    return {"format": str(cell), "bits": _width(cell)}


def _width(cell: Cell) -> int:
    if isinstance(cell, Histogram):
        return max(form.element_bits for form, share in zip(cell.formats, cell.shares, strict=True) if share > 0)
    return 0 if cell is None else cell.element_bits


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"
