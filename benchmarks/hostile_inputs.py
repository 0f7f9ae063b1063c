"""Inputs that were damaged or made to harm: what is done to the sound files of :mod:`hostile_bases`.

A case is a command line with the files that it names, drawn from a seed. Nothing here knows what the program does with them;
:mod:`hostile` runs the cases and judges.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

#: Values that are put where a file has one of its own.
VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 3, 7, 64, 65537, 2147483647, 2147483648, 4294967296, 9007199254740992, 9223372036854775808,
    18446744073709551616, 1000000000000000, 10000000000000000, 10000000000000000000000000000000000000000,
    -1000000000000000, 0.5, -0.0, 1e-308, 1e-15, 1000000000000000.0, 1e+16, 1e+30, 1e+300, 1.7976931348623157e+308,
    float("inf"), float("-inf"), float("nan"), True, False, None, "", " ", "x", "\u00e9", "\u65e5\u672c", '\U0001f600',
    "\u001b[31mred\u001b[0m", "\u0007", "\u202eabc", "=1+1", "+1", "-1", "@a", "=cmd|'/c calc'!A1", "[red]x[/red]", "[/x]",
    'a' * 300, 'a' * 5000, "../../../../etc/passwd", "/dev/zero", "/", ".", "a/b", "a b", "a:b", "a\nb", "a\tb", "yes",
    "null", "0x10", "1e5", "010", "12:30", '9' * 5000, "1_000", "int4", "int0", "int99", "fp8_e4m3", "bfp4", "bfp0:0",
    "mls_e2m1", "first", "last", "4*K", "K//0", "K**K", '(' * 200, "9999999999999999999999999999999999999999*K", [], {},
    [[]], [1, 2, 3], ['a', 'a'], {'a': 1}, {'values': [1, 2], 'default': 1},
    {'min': 1, 'max': 1000000.0, 'step': 1e-09, 'default': 1}, [0] * 50,
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
    what = draw.choice(
        (
            b"\0",
            b"\xff\xfe",
            b"\x1b[2J",
            b"[" * 20_000,
            b"{a: " * 5000,
            b"- " * 5000,
            b"? " * 2000,
            b"\n",
            b"\t",
            b"*a",
            b"&a ",
            b"!!python/name:os.system ",
            b"9" * 5000,
            b"%",
            b"# x\n",
            b"---\n",
            b"...\n",
            b'"',
            b"'",
            b"|\n",
            b"a: &a [*a]\n",
            os.urandom(0) + bytes(draw.randrange(256) for _ in range(64)),
            b"\n".join(b"k%d: 1" % k for k in range(20_000)),
            b"=",
            b",",
            b",,,,,,\n",
            b"\r",
        )
    )
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
        "bom": b"\xef\xbb\xbf" + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "cr": content.replace(b"\n", b"\r"),
        "latin": content + b"# \xe9\xe8\n",
        "nul": content + b"\0",
    }[way]


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
        return yaml.safe_dump(
            _changed(yaml.safe_load(content), draw), sort_keys=False, allow_unicode=True, width=10_000
        ).encode("utf-8", "surrogatepass")
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
    new = draw.choice(
        (f"{key}x", str(key).upper(), f" {key}", "", "a" * 2000, 1, True, None, 1.5, "\x1b[31m", "[red]", "=1", "é")
    )
    here[new] = here.pop(key) if draw.random() < 0.6 else here[key]
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000).encode()


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _yaml_text(content: bytes, draw: random.Random) -> bytes:
    """A word of the text replaced by another."""
    text = content.decode("utf-8", "replace")
    words = [
        word
        for word in text.replace(",", " ").replace("{", " ").replace("}", " ").replace(":", " ").split()
        if len(word) < 40
    ]
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
            node.op_type = draw.choice(
                (
                    "",
                    "Nonsense",
                    "Loop",
                    "If",
                    "LSTM",
                    "Einsum",
                    "Resize",
                    "Reshape",
                    "Gemm",
                    "Softmax",
                    "Conv",
                    "ConvTranspose",
                    "Attention",
                    "QuantizeLinear",
                )
            )
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
            tensor.raw_data = draw.choice(
                (b"", b"x", tensor.raw_data[:-1], np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes())
            )
        elif way == 9 and graph.input:
            dim = graph.input[0].type.tensor_type.shape.dim[draw.randrange(4)]
            dim.dim_value = draw.choice((0, -1, 2**31, 2**40, 1, 3, 1_000_000))
        elif way == 10 and tensor is not None:
            tensor.data_location = 1
            entry = tensor.external_data.add()
            entry.key, entry.value = (
                "location",
                draw.choice(("../../etc/passwd", "/etc/passwd", "/dev/zero", "missing.bin", "data.npz", "")),
            )
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
        arrays[name] = arrays[name].astype(
            draw.choice((np.float64, np.complex64, np.int8, np.uint64, np.bool_, np.float16))
        )
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
    elif way == 8 and arrays[name].dtype.kind in "if":
        arrays[name] = -arrays[name]
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
    shape = draw.choice(
        (b"(99999999999, 99999999)", b"(-1,)", b"(" * 100, b"()", b"(0,)", b"(1e9,)", b"('a',)", b"(4,)")
    )
    return content[:start] + shape + content[end + 1 :]


# --- special places ---------------------------------------------------------------------------------------------------------------


def _unused(place: Path) -> Path:
    """A place of its own, also where one command line draws the same twice."""
    while os.path.lexists(place):
        place = place.with_name(place.name + "b")
    return place


def special_place(folder: Path, draw: random.Random) -> str:
    """A path where no sound file stands, made if need be."""
    which = draw.randrange(20)
    place = _unused(folder / f"special{which}")
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
        10: str(folder / "net.yaml" / "inside"),
        11: "a" * 300,
        12: "/dev/zero",
        13: "",
        14: ".",
        15: "\udcff\udcfe.yaml",
        16: "missing.yaml",
        17: "a/" * 3000,
        18: "/proc/self/mem",
        19: "\x1b[31m.yaml",
    }.get(which, str(place))


def bad_target(folder: Path, draw: random.Random) -> str:
    """A path where nothing can be written, or nothing should be."""
    which = draw.randrange(12)
    place = _unused(folder / f"target{which}")
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
        5: "/dev/full",
        6: "/dev/null",
        7: str(folder / "net.yaml" / "out"),
        8: "a" * 300,
        9: str(folder / "no" / "such" / "folder" / "out"),
        10: "",
        11: "/proc/out",
    }.get(which, str(place))


def linked(bases: Path, folder: Path) -> None:
    """The base files in a folder of one case; nobody may write into them, since they are links to one copy."""
    for place, _, names in os.walk(bases):
        here = folder / os.path.relpath(place, bases)
        here.mkdir(exist_ok=True)
        for name in names:
            os.link(os.path.join(place, name), here / name)
