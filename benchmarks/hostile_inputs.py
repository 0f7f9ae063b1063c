"""Inputs that were damaged or made to harm: base files of every kind that ``dse`` reads, and what is done to them.

A case is a command line with the files that it names, drawn from a seed. Nothing here knows what the program does with them;
:mod:`hostile` runs the cases and judges.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

WORKLOAD = """source: made up
batch: 4
samples: 8
epochs: 1
optimizer: momentum
input: {C: 8, H: 8, W: 8}
blocks:
  unit:
    parameters: [K]
    layers:
      - {op: residual, name: sum, main: [{op: conv, name: a, K: K, R: 3, pad: 1, then: [norm, relu]}, {op: conv, name: b, K: K, R: 1}]}
layers:
  - {op: conv, name: first, K: 16, R: 3, pad: 1, then: [norm, relu]}
  - {op: block, of: unit, name: 'stage{i}', arguments: {K: 16}, count: 2}
  - {op: conv, name: third, K: 16, R: 3, stride: 2, pad: 1, groups: 2, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10}
  - {op: loss, name: loss}
"""
TOKENS = """source: made up
batch: 2
samples: 8
epochs: 1
optimizer: adam
input: {tokens: 16}
layers:
  - {op: embedding, name: table, rows: 100, K: 32}
  - {op: layernorm, name: ln}
  - {op: attention, name: attn, heads: 4, head_dim: 8}
  - {op: moe, name: experts, K: 32, experts: 4, active: 2}
  - {op: linear, name: head, K: 100, bias: true}
  - {op: loss, name: loss}
"""
NESTS = """source: made up
batch: 2
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: first, kind: conv, K: 16, C: 8, P: 8, Q: 8, R: 3, S: 3, input_hw: [8, 8]}
  - {name: last, kind: fc, K: 10, C: 16}
"""
PROFILE = """network: net
source: made up
method: made up
score: made up
prediction:
  quantity: top1
  baseline: 70.0
  baseline_name: made up
  noise: 0.1
  noise_source: made up
  calibration: post-training
  link: saturating
kept: {last: 8}
ties:
  - [stage0.a, stage1.a]
layers:
  first: {both: {4: 0.4, 8: 0.002}}
  stage0.a: {both: {4: 0.2, 8: 0.001}}
  stage0.b: {both: {4: 0.2, 8: 0.001}}
  stage1.a: {both: {4: 0.2, 8: 0.001}}
  stage1.b: {both: {4: 0.2, 8: 0.001}}
  third: {both: {4: 0.1, 8: 0.0005}}
points:
  - {name: u8, value: 69.95, both: 8}
  - {name: u4, value: 67.0, both: 4}
  - {name: m, value: 69.0, both: [8, 8, 8, 4, 4, 8]}
  - {name: n, value: 68.4, both: [8, 4, 4, 4, 4, 4]}
error_tensor:
  source: made up
  note: made up
  baseline: 70.0
  baseline_name: made up
  widths: {8: 69.9, 6: 69.6}
"""
SCHEDULES = (
    "kind: static\nplan: w8a8e8\niterations: 10\n",
    "kind: cyclic\nlow: 3\nhigh: 8\ncycles: 4\niterations: 1000\nkeep: {last: int8}\n",
    "kind: better\nname: RTV\nlow: 3\nhigh: 8\niterations: 500\nbackward: fp8_e5m2\n",
    "kind: progressive\nswitches: [3, 6]\niterations: 10\n",
    "kind: progressive_from_losses\nlosses: [1.0, 1.0, 0.5, 0.5]\niterations_per_epoch: 3\n",
    "kind: piecewise\nparts: [{epochs: 2, plan: bfp4}, {epochs: 1, plan: bfp6}]\n",
    "kind: traced\ntrace: trace.csv\niterations: 50\n",
)
SPACE = "profiles: [CR, ER]\ndepths_bits: [0, 1, 2]\ncycles: [2, 4]\niterations: 640\nscore: mean\n"
POINTS = "name,value,weight,activation\na,69.0,8,8\nb,66.0,4,4\nc,68.0,8,4\nd,67.5,4,8\n"
POINTS_YAML = "points:\n  - {name: a, value: 69.0, both: 8}\n  - {name: b, value: 66.0, both: 4}\n  - {name: c, value: 68.0, both: [8, 4, 8, 4, 8, 4]}\n"
TRACE = "batch_iteration,layer0,layer1,layer2\n0,8,8,8\n10,6,6,8\n20,4,6,8\n"

#: Values that are put where a file has one of its own.
VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 64, 65_537, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**15, 10**16, 10**40, -(10**15), 0.5, -0.0, 1e-308,
    1e-15, 1e15, 1e16, 1e30, 1e300, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan"), True, False, None, "", " ", "x", "é", "日本",
    "\U0001f600", "\x1b[31mred\x1b[0m", "\x07", "\u202eabc", "=1+1", "+1", "-1", "@a", "=cmd|'/c calc'!A1", "[red]x[/red]", "[/x]", "a" * 300,
    "a" * 5000, "../../../../etc/passwd", "/dev/zero", "/", ".", "a/b", "a b", "a:b", "a\nb", "a\tb", "yes", "null", "0x10", "1e5", "010", "12:30",
    "9" * 5000, "1_000", "int4", "int0", "int99", "fp8_e4m3", "bfp4", "bfp0:0", "mls_e2m1", "first", "last", "4*K", "K//0", "K**K", "(" * 200, "9" * 40 + "*K",
    [], {}, [[]], [1, 2, 3], ["a", "a"], {"a": 1}, {"values": [1, 2], "default": 1}, {"min": 1, "max": 1e6, "step": 1e-9, "default": 1}, [0] * 50,
)  # fmt: skip
#: What stands for a number on the command line.
NUMBERS = (
    "0", "-1", "1", "2", "3", "-0", "0.5", "-0.0", "1e-320", "1e5", "1e20", "1e308", "1e999", "inf", "-inf", "nan", "4294967295", "4294967296", "2147483648",
    "9223372036854775808", "99999999999999999999", "9" * 5000, "", " ", "x", "0x10", "1_0", "٣", "１", "1,2", "1,", ",", "1;2", "--", "1e", "+5", "²", "\x1b[31m", "a" * 300,
)  # fmt: skip
TEXTS = (
    "", " ", "x", "nonsense", "a" * 300, "a" * 5000, "é", "\U0001f600", "\x1b[31mred", "[red]x[/red]", "[/x]", "w8a8e8", "w4a4", "w0a0", "w99a99e99", "w" * 4000, "w8a8," * 500,
    "fp32", "fp8_e4m3", "bfp4:64", "mxfp8_e4m3", "int4=int4", "weight=int4", "weight=" * 300, "latency", "energy,latency", "energy,energy", "nested", "random", "exhaustive", "joint",
    "tpe", "nsga2", "cma", "gp", "qmc", "training", "inference", "cyclic", "../x", "/", ".", "..", "/dev/null", "-", "--", "=1", "1", "\udcff\udcfe", "a\nb", "%s%n", "${HOME}", "knee",
    "tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1", "pdf", "svg", "latex", "markdown", "brevitas", "onnx", "json", "plan",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One command line with what is done before it; ``doing`` says so in words."""

    arguments: list[str]
    doing: str
    environment: dict[str, str | None] = field(default_factory=dict)
    output: str = "file"
    file_bytes: int | None = None
    user: bool = False


# --- base files -------------------------------------------------------------------------------------------------------------------


def make_bases(folder: Path) -> None:
    """Sound files of every kind, by the names that :func:`draw` uses; they take a few seconds."""
    import dse
    from dse.cost.explicit import save_best_mappings
    from dse.report import write_report

    texts = {
        "net.yaml": WORKLOAD, "tokens.yaml": TOKENS, "nests.yaml": NESTS, "profile.yaml": PROFILE, "space.yaml": SPACE, "points.csv": POINTS,
        "points.yaml": POINTS_YAML, "trace.csv": TRACE, "hardware.yaml": _hardware(),
    } | {f"schedule{k}.yaml": text for k, text in enumerate(SCHEDULES)}  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    net = dse.load_workload(folder / "net.yaml")
    hardware = dse.load_hardware(folder / "hardware.yaml")
    plan = dse.Plan.parse("w8a8e8", net)
    plan.save(folder / "plan.yaml")
    save_best_mappings(net, hardware, plan, str(folder / "mapping.yaml"), "training")
    bare = yaml.safe_load(PROFILE)
    del bare["points"], bare["prediction"]["link"]
    (folder / "bare.yaml").write_text(yaml.safe_dump(bare))
    options = {"profile": folder / "profile.yaml", "trials": 2, "screening": True}
    for name, seed in (("run", 0), ("other", 1)):
        dse.explore(folder / "net.yaml", folder / "hardware.yaml", seed=seed, out=folder / name, **options)
        write_report(folder / name)
    from dse.export import export_design

    (folder / "design.yaml").write_text(next(iter(export_design(folder / "run", "knee", "design").values())))
    _data(folder)


def _hardware() -> str:
    """``fp8_trainer``'s neighbour with few designs: small enough for thousands of runs."""
    from dse.shipped import shipped_folder

    value = yaml.safe_load((shipped_folder("hwmodels") / "flex_trainer.yaml").read_text())
    value["array"]["axes"] = {
        key: {**axis, "size": {"values": [8, 16], "default": 16} if k == 0 else 8} for k, (key, axis) in enumerate(value["array"]["axes"].items())
    }
    value["name"] = "small"
    return yaml.safe_dump(value, sort_keys=False)


def _data(folder: Path) -> None:
    """An ONNX model with its weights, images, labels, idx and CIFAR files."""
    import onnx
    from onnx import TensorProto, helper

    random_ = np.random.default_rng(0)
    weights = {"w1": random_.normal(size=(4, 3, 3, 3)), "w2": random_.normal(size=(4, 4, 3, 3)), "w3": random_.normal(size=(4, 5))}
    initializers = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "conv2", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("MatMul", ["e", "w3"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])], initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    images, labels = random_.normal(size=(16, 3, 8, 8)).astype(np.float32), random_.integers(0, 5, 16)
    np.savez(folder / "data.npz", images=images, labels=labels)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    idx = folder / "idx"
    idx.mkdir()
    for name, array in (("train", 64), ("t10k", 16)):
        pictures, classes = random_.integers(0, 256, (array, 8, 8)).astype(np.uint8), random_.integers(0, 5, array).astype(np.uint8)
        (idx / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">HBBIII", 0, 8, 3, array, 8, 8) + pictures.tobytes())
        (idx / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, array) + classes.tobytes())


# --- what is done to a file -------------------------------------------------------------------------------------------------------


def damaged(content: bytes, name: str, draw: random.Random) -> tuple[bytes, str]:
    """A content as somebody's mistake, a failing disk or an attacker leaves it, and what was done."""
    ways: list[Callable[[bytes, random.Random], bytes]] = [_flip, _cut, _insert, _repeat, _drop]
    if name.endswith((".yaml", ".yml")):
        ways += [_yaml_value] * 12 + [_yaml_key] * 4 + [_yaml_text] * 4 + [_encoding]
    elif name.endswith(".csv"):
        ways += [_csv_cell] * 8 + [_encoding]
    elif name.endswith(".json"):
        ways += [_json_value] * 8
    elif name.endswith(".onnx"):
        ways += [_onnx_field] * 8
    elif name.endswith(".npz"):
        ways += [_npz_member] * 8
    elif name.endswith(".npy"):
        ways += [_npy_header] * 6
    way = draw.choice(ways)
    return way(content, draw), way.__name__.strip("_")


def _flip(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 50))):
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    what = draw.choice((b"\0", b"\xff\xfe", b"\x1b[2J", b"[" * 20_000, b"{a: " * 5000, b"- " * 5000, b"? " * 2000, b"\n", b"\t", b"*a", b"&a ", b"!!python/name:os.system ",
                        b"9" * 5000, b"%", b"# x\n", b"---\n", b"...\n", b"\"", b"'", b"|\n", b"a: &a [*a]\n", os.urandom(0) + bytes(draw.randrange(256) for _ in range(64)),
                        b"\n".join(b"k%d: 1" % k for k in range(20_000)), b"=", b",", b",,,,,,\n", b"\r"))  # fmt: skip
    return content[:place] + what + content[place:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    place = draw.randrange(len(lines))
    return b"".join([*lines[:place], lines[place] * draw.choice((2, 2, 3, 1000, 20_000)), *lines[place + 1 :]])


def _drop(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    place, count = draw.randrange(len(lines)), draw.choice((1, 1, 2, 5))
    return b"".join(lines[:place] + lines[place + count :])


def _encoding(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    way = draw.choice(("utf-16", "utf-32", "bom", "crlf", "cr", "latin", "nul"))
    if way in ("utf-16", "utf-32"):
        return text.encode(way)
    return {
        "bom": b"\xef\xbb\xbf" + content, "crlf": content.replace(b"\n", b"\r\n"), "cr": content.replace(b"\n", b"\r"),
        "latin": content + b"# \xe9\xe8\n", "nul": content + b"\0",
    }[way]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def _changed(value: Any, draw: random.Random) -> Any:
    """A structure with one or two of its values replaced, removed, doubled or nested."""
    for _ in range(draw.choice((1, 1, 1, 2))):
        places = _places(value)
        place = draw.choice(places[1:] or places)
        if not place:
            return draw.choice(VALUES)
        around = value
        for key in place[:-1]:
            around = around[key]
        way = draw.randrange(8)
        old = around[place[-1]]
        if way < 5:
            around[place[-1]] = draw.choice(VALUES)
        elif way == 5:
            del around[place[-1]]
        elif way == 6:
            around[place[-1]] = [old] * draw.choice((2, 50)) if draw.random() < 0.5 else {"a": old}
        elif isinstance(old, (int, float)) and not isinstance(old, bool):
            around[place[-1]] = old * draw.choice((-1, 0.5, 2, 3, 1000, 1e6, 1e12))
    return value


def _yaml_value(content: bytes, draw: random.Random) -> bytes:
    try:
        return yaml.safe_dump(_changed(yaml.safe_load(content), draw), sort_keys=False, allow_unicode=True, width=10_000).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return _flip(content, draw)


def _yaml_key(content: bytes, draw: random.Random) -> bytes:
    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError:
        return _flip(content, draw)
    dicts = [place for place in _places(value) if isinstance(_at(value, place), dict) and _at(value, place)]
    if not dicts:
        return _flip(content, draw)
    here = _at(value, draw.choice(dicts))
    key = draw.choice(list(here))
    new = draw.choice((f"{key}x", str(key).upper(), f" {key}", "", "a" * 2000, 1, True, None, 1.5, "\x1b[31m", "[red]", "=1", "é"))
    here[new] = here.pop(key) if draw.random() < 0.6 else here[key]
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000).encode()


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _yaml_text(content: bytes, draw: random.Random) -> bytes:
    """A word of the text replaced by another."""
    text = content.decode("utf-8", "replace")
    words = [word for word in text.replace(",", " ").replace("{", " ").replace("}", " ").replace(":", " ").split() if len(word) < 40]
    if not words:
        return content
    new = str(draw.choice(VALUES))
    return text.replace(draw.choice(words), new if len(new) < 500 else new[:500], 1).encode("utf-8", "surrogatepass")


def _csv_cell(content: bytes, draw: random.Random) -> bytes:
    rows = [line.split(",") for line in content.decode("utf-8", "replace").splitlines()]
    if not rows:
        return content
    for _ in range(draw.choice((1, 1, 2))):
        row = draw.choice(rows)
        place = draw.randrange(len(row))
        way = draw.randrange(6)
        if way < 4:
            row[place] = str(draw.choice(VALUES)).replace("\n", " ")
        elif way == 4:
            row.insert(place, "1")
        else:
            row[place] = '"' + row[place]
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")


def _json_value(content: bytes, draw: random.Random) -> bytes:
    try:
        return json.dumps(_changed(json.loads(content), draw)).encode()
    except ValueError:
        return _flip(content, draw)


def _onnx_field(content: bytes, draw: random.Random) -> bytes:
    """A field of the model, its graph, a node, a tensor or a shape changed."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        graph = model.graph
        way = draw.randrange(14)
        node = graph.node[draw.randrange(len(graph.node))] if graph.node else None
        tensor = graph.initializer[draw.randrange(len(graph.initializer))] if graph.initializer else None
        if way == 0:
            model.ir_version = draw.choice((0, -1, 1, 99, 2**31 - 1))
        elif way == 1 and model.opset_import:
            model.opset_import[0].version = draw.choice((0, -1, 1, 7, 99, 2**40))
        elif way == 2 and node is not None:
            node.op_type = draw.choice(("", "Nonsense", "Loop", "If", "LSTM", "Einsum", "Resize", "Reshape", "Gemm", "Softmax", "Conv", "ConvTranspose", "Attention", "QuantizeLinear"))
        elif way == 3 and node is not None and node.input:
            node.input[draw.randrange(len(node.input))] = draw.choice(("", "nothing", "y", "x", "w1", "\x1b[31m"))
        elif way == 4 and node is not None:
            node.name = draw.choice(("", "a" * 3000, "\x1b[31m", "conv1", "=1+1", "../x", "[/x]"))
        elif way == 5 and node is not None and node.attribute:
            attribute = node.attribute[draw.randrange(len(node.attribute))]
            if attribute.ints:
                attribute.ints[0] = draw.choice((0, -1, 2**31, 2**62, 3))
            attribute.name = draw.choice((attribute.name, "group", "kernel_shape", "dilations", "x"))
        elif way == 6 and tensor is not None and tensor.dims:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice((0, -1, 1, 2**31, 2**62, 7))
        elif way == 7 and tensor is not None:
            tensor.data_type = draw.choice((0, 2, 7, 8, 10, 16, 23, 99))
        elif way == 8 and tensor is not None:
            tensor.raw_data = draw.choice((b"", b"x", tensor.raw_data[:-1], np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()))
        elif way == 9 and graph.input:
            dim = graph.input[0].type.tensor_type.shape.dim[draw.randrange(4)]
            dim.dim_value = draw.choice((0, -1, 2**31, 2**40, 1, 3, 1_000_000))
        elif way == 10 and tensor is not None:
            tensor.data_location = 1
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", draw.choice(("../../etc/passwd", "/etc/passwd", "/dev/zero", "missing.bin", "data.npz", ""))
        elif way == 11 and node is not None:
            for _ in range(draw.choice((1, 50, 3000))):
                graph.node.add().CopyFrom(node)
        elif way == 12:
            del graph.output[:]
        elif way == 13 and node is not None:
            node.output[0] = draw.choice(("x", "w1", "", "y", "a"))
        return model.SerializeToString()
    except Exception:
        return _flip(content, draw)


def _npz_member(content: bytes, draw: random.Random) -> bytes:
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name = draw.choice(sorted(arrays))
    way = draw.randrange(10)
    if way == 0:
        arrays[draw.choice(("x", "a" * 300, "\x1b[31m"))] = arrays.pop(name)
    elif way == 1:
        arrays[name] = arrays[name].reshape(-1)
    elif way == 2:
        arrays[name] = arrays[name].astype(draw.choice((np.float64, np.complex64, np.int8, np.uint64, np.bool_, np.float16)))
    elif way == 3:
        arrays[name] = arrays[name][:0]
    elif way == 4 and arrays[name].dtype.kind == "f":
        arrays[name] = np.full_like(arrays[name], draw.choice((np.nan, np.inf, 1e38, 0.0)))
    elif way == 5:
        arrays[name] = arrays[name][:-1]
    elif way == 6:
        arrays[name] = np.array("text")
    elif way == 7:
        arrays[name] = np.zeros(20_000_000, np.uint8)
    elif way == 8:
        arrays[name] = arrays[name] * -1
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    if way == 9:
        with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy" if draw.random() < 0.5 else "bomb.npy", b"\0" * 200_000_000)
    return stream.getvalue()


def _npy_header(content: bytes, draw: random.Random) -> bytes:
    start = content.find(b"(")
    end = content.find(b")", start)
    if start < 0 or end < 0:
        return _flip(content, draw)
    shape = draw.choice((b"(99999999999, 99999999)", b"(-1,)", b"(" * 100, b"()", b"(0,)", b"(1e9,)", b"('a',)", b"(4,)"))
    return content[:start] + shape + content[end + 1 :]


# --- special places ---------------------------------------------------------------------------------------------------------------


def special_place(folder: Path, draw: random.Random) -> str:
    """A path where no sound file stands, made if need be."""
    which = draw.randrange(20)
    place = folder / f"special{which}"
    if which == 0:
        os.mkfifo(place)
    elif which == 1:
        place.symlink_to(place)
    elif which == 2:
        place.symlink_to("/dev/zero")
    elif which == 3:
        place.symlink_to("/proc/self/pagemap")
    elif which == 4:
        place.write_bytes(b"")
    elif which == 5:
        with open(place, "wb") as stream:
            stream.truncate(30_000_000_000)
    elif which == 6:
        place.write_text("secret: 1\n")
        place.chmod(0)
    elif which == 7:
        place.mkdir(mode=0)
        return str(place / "inside.yaml")
    elif which == 8:
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(place))
        server.close()
    elif which == 9:
        place.write_bytes(b"[" * 20_000)
    return {
        10: str(folder / "net.yaml" / "inside"), 11: "a" * 300, 12: "/dev/zero", 13: "", 14: ".", 15: "\udcff\udcfe.yaml", 16: "missing.yaml", 17: "a/" * 3000,
        18: "/proc/self/mem", 19: "\x1b[31m.yaml",
    }.get(which, str(place))  # fmt: skip


def bad_target(folder: Path, draw: random.Random) -> str:
    """A path where nothing can be written, or nothing should be."""
    which = draw.randrange(12)
    place = folder / f"target{which}"
    if which == 0:
        place.mkdir()
    elif which == 1:
        os.mkfifo(place)
    elif which == 2:
        place.symlink_to(place)
    elif which == 3:
        place.mkdir(mode=0o500)
        place = place / "out"
    elif which == 4:
        place.symlink_to(folder / "net.yaml" / "x")
    return {
        5: "/dev/full", 6: "/dev/null", 7: str(folder / "net.yaml" / "out"), 8: "a" * 300, 9: str(folder / "no" / "such" / "folder" / "out"), 10: "", 11: "/proc/out",
    }.get(which, str(place))  # fmt: skip


def linked(bases: Path, folder: Path) -> None:
    """The base files in a folder of one case; nobody may write into them, since they are links to one copy."""
    for place, _, names in os.walk(bases):
        here = folder / os.path.relpath(place, bases)
        here.mkdir(exist_ok=True)
        for name in names:
            os.link(os.path.join(place, name), here / name)
