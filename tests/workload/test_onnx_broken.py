"""Broken and hostile ONNX files: one sentence each, exit code 2, no hang, nothing written."""

import contextlib
import re
import signal
import sys

import numpy as np
import pytest

from dse.errors import InputError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from dse.cli import main  # noqa: E402
from dse.workload.from_onnx.network import import_onnx  # noqa: E402

FLOAT = TensorProto.FLOAT


def model(nodes=None, inputs=None, weights=None, opset=17, functions=(), domains=()):
    """A sound model, of which every case below breaks something."""
    nodes = nodes or [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    inputs = {"x": [1, 3, 8, 8]} if inputs is None else inputs
    weights = {"w": np.zeros((4, 3, 3, 3), np.float32)} if weights is None else weights
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def edited(change, **options):
    made = model(**options)
    change(made)
    return made.SerializeToString()


def dims(*sizes):
    def change(made):
        shape = made.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for size in sizes:
            dim = shape.dim.add()
            if isinstance(size, str):
                dim.dim_param = size
            elif size is not None:
                dim.dim_value = size

    return change


def external(location):
    def change(made):
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def circle(made):
    made.graph.node[0].input[0] = "y"


def function(name, calls):
    body = [helper.make_node(calls, ["a"], ["b"], domain="f" if calls.startswith("F") else "")]
    return helper.make_function(
        "f", name, ["a"], ["b"], body, [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    )


def bomb(levels=12, width=10):
    """Functions that call the next one ten times: a trillion operators once written out."""
    made = []
    for level in range(levels):
        calls = "Relu" if level == levels - 1 else f"F{level + 1}"
        body = [
            helper.make_node(
                calls,
                ["a" if i == 0 else f"t{i}"],
                [f"t{i + 1}" if i < width - 1 else "b"],
                domain="f" if calls[0] == "F" else "",
            )
            for i in range(width)
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        made.append(helper.make_function("f", f"F{level}", ["a"], ["b"], body, opsets))
    return made


def nested(depth):
    """If inside If inside If."""
    node = helper.make_node("Relu", ["x"], ["r0"])
    for level in range(depth):
        inner = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"r{level}", FLOAT, None)])
        other = helper.make_graph(
            [helper.make_node("Relu", ["x"], ["o"])], "o", [], [helper.make_tensor_value_info("o", FLOAT, None)]
        )
        node = helper.make_node("If", ["x"], [f"r{level + 1}"], then_branch=inner, else_branch=other)
    return node


def setter(**values):
    def change(made):
        for key, value in values.items():
            setattr(made, key, value)

    return change


def clear(field):
    return lambda made: made.ClearField(field)


def weight(action):
    return lambda made: action(made.graph.initializer[0])


def attribute(name, value):
    return lambda made: made.graph.node[0].attribute.append(helper.make_attribute(name, value))


SOUND = model().SerializeToString()
REPEATED = helper.make_node("Relu", ["h"], ["h"], name="again")

#: name: (bytes of the file, what the sentence says)
CASES = {
    "empty": (b"", "the file is empty"),
    "text": (b"this is no model, it is a letter to a friend\n" * 20, "no ONNX model"),
    "zeros": (bytes(4096), "no ONNX model"),
    "ones": (b"\xff" * 4096, "no ONNX model"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "no ONNX model"),
    "zip": (b"PK\x03\x04" + bytes(200), "no ONNX model"),
    "truncated": (SOUND[: len(SOUND) // 2], "truncated"),
    "truncated by a byte": (SOUND[:-1], "truncated"),
    "no graph": (edited(clear("graph")), "has no graph"),
    "no operators": (edited(lambda m: m.graph.ClearField("node")), "has no graph with operators"),
    "IR of the future": (edited(setter(ir_version=999)), "has IR version 999"),
    "operator set of the future": (edited(lambda m: None, opset=999), "uses operator set 999"),
    "operator set zero": (edited(lambda m: None, opset=0), "uses operator set 0"),
    "no operator set": (edited(clear("opset_import")), "names no operator set"),
    "name that is no text": (SOUND.replace(b"conv", b"co\xffv"), "no UTF-8 text"),
    "circle": (edited(circle), "wait for each other in a circle: node 'conv', node 'relu'"),
    "reads itself": (edited(lambda m: m.graph.node[1].input.__setitem__(0, "y")), "in a circle"),
    "reads nothing": (edited(lambda m: m.graph.node[1].input.__setitem__(0, "z")), "reads 'z', which nothing makes"),
    "made twice": (edited(lambda m: m.graph.node.append(REPEATED)), "makes 'h', which exists already"),
    "makes its input": (edited(lambda m: m.graph.node[1].output.__setitem__(0, "x")), "makes 'x', which exists already"),
    "unknown operator": (edited(lambda m: setattr(m.graph.node[0], "op_type", "Conf")), "multiply-accumulates"),
    "unknown domain": (edited(lambda m: setattr(m.graph.node[0], "domain", "evil")), "No opset import for domain evil"),
    "no layers with MACs": (edited(lambda m: m.graph.node.remove(m.graph.node[0]), inputs={"h": [1, 2]}), "no layer with multiply"),
    "input without type": (edited(lambda m: m.graph.input[0].ClearField("type")), "input 'x': has no type"),
    "input without shape": (edited(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")), "input 'x': has no shape"),
    "input is a sequence": (
        edited(lambda m: m.graph.input[0].type.sequence_type.elem_type.tensor_type.__setattr__("elem_type", 1)),
        "is no tensor",
    ),
    "axis without size": (edited(dims(1, 3, None, 8)), r"axis 2 is open; give its size with --dim 'x\[2\]=VALUE'"),
    "named axis": (edited(dims(1, 3, "rows", 8)), "axis 2 is open; give its size with --dim 'rows=VALUE'"),
    "zero axis": (edited(dims(1, 3, 0, 8)), "expected sizes from 1 to 2.31, got 0 at axis 2"),
    "negative axis": (edited(dims(1, 3, -5, 8)), "got -5 at axis 2"),
    "huge axis": (edited(dims(1, 3, 2**62, 8)), "got 4611686018427387904 at axis 2"),
    "huge input": (edited(dims(1, 3, 2**31, 2**31)), "expected at most 2.61"),
    "window larger than its input": (edited(dims(1, 3, 2, 2)), "layer 'conv'"),
    "wrong channels": (edited(dims(1, 5, 8, 8)), "do not fit|no shape"),
    "wrong rank": (edited(dims(1, 3)), "layer 'conv'"),
    "scalar input": (edited(dims()), "layer 'conv'"),
    "weight of negative size": (edited(weight(lambda t: t.dims.__setitem__(0, -4))), "no tensor has the shape"),
    "weight of huge size": (edited(weight(lambda t: t.dims.__setitem__(0, 2**62))), "no tensor has the shape"),
    "weight of a million axes": (edited(weight(lambda t: t.dims.extend([2] * 10**6))), "has 1,000,004 axes"),
    "input of a million axes": (edited(dims(*[2] * 10**5)), "has more than 64 axes"),
    "weight of no size": (edited(lambda m: None, weights={"w": np.zeros((0, 3, 3, 3), np.float32)}), "size 0|no shape"),
    "weight too short": (edited(weight(lambda t: setattr(t, "raw_data", t.raw_data[:100]))), "holds 100 bytes"),
    "weight of other rank": (edited(lambda m: None, weights={"w": np.zeros((4, 3), np.float32)}), "layer 'conv'"),
    "weight of unknown type": (edited(weight(lambda t: setattr(t, "data_type", 777))), ""),
    "external data above": (edited(external("../../../etc/passwd")), "outside the folder of the model"),
    "external data absolute": (edited(external("/etc/passwd")), "outside the folder of the model"),
    "external data of Windows": (edited(external("..\\..\\secret")), "outside the folder of the model"),
    "external data on a drive": (edited(external("C:\\weights")), "outside the folder of the model"),
    "external data nowhere": (edited(external("")), "outside the folder of the model"),
    "zero groups": (edited(attribute("group", 0)), "layer 'conv'"),
    "negative stride": (edited(attribute("strides", [-1, 1])), "layer 'conv'"),
    "too many strides": (edited(attribute("strides", [1] * 7)), "layer 'conv'"),
    "stride that is text": (edited(attribute("strides", "two")), "layer 'conv'"),
    "functions in a circle": (
        edited(lambda m: None, functions=[function("F", "FG"), function("FG", "F")]),
        "call each other in a circle",
    ),
    "function of itself": (
        edited(
            lambda m: setattr(m.graph.node[1], "op_type", "F") or setattr(m.graph.node[1], "domain", "f"),
            functions=[function("F", "F")],
            domains=["f"],
        ),
        "call each other in a circle",
    ),
    "function bomb": (
        edited(
            lambda m: setattr(m.graph.node[1], "op_type", "F0") or setattr(m.graph.node[1], "domain", "f"),
            functions=bomb(),
            domains=["f"],
        ),
        "more than 50,000 operators once its functions are written out",
    ),
    "matrices that do not fit": (
        edited(
            lambda m: None,
            nodes=[helper.make_node("MatMul", ["x", "w"], ["y"], name="mul")],
            inputs={"x": [1, 7]},
            weights={"w": np.zeros((8, 4), np.float32)},
        ),
        "layer 'mul'",
    ),
    "matmul without weights": (
        edited(lambda m: None, nodes=[helper.make_node("MatMul", ["x"], ["y"], name="mul")]),
        "layer 'mul'",
    ),
    "shape of a bomb": (
        edited(
            lambda m: None,
            nodes=[
                helper.make_node("ConstantOfShape", ["s"], ["big"]),
                helper.make_node("NonZero", ["big"], ["n"]),
                helper.make_node("Reshape", ["x", "n"], ["z"]),
                helper.make_node("MatMul", ["z", "z"], ["y"], name="mul"),
            ],
            weights={"s": np.array([2**30, 2**30])},
        ),
        "layer 'mul'",
    ),
    "range without end": (
        edited(
            lambda m: None,
            nodes=[
                helper.make_node("Range", ["a", "b", "c"], ["r"]),
                helper.make_node("Reshape", ["x", "r"], ["z"]),
                helper.make_node("MatMul", ["z", "z"], ["y"], name="mul"),
            ],
            weights={"a": np.array(0), "b": np.array(2**62), "c": np.array(1)},
        ),
        "layer 'mul'",
    ),
    "nested deep": (edited(lambda m: m.graph.node.append(nested(20))), ""),
}  # fmt: skip


@pytest.fixture
def ten_seconds():
    def late(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dse", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_sound_model_imports(tmp_path, monkeypatch, capsys):
    (tmp_path / "m.onnx").write_bytes(SOUND)
    assert run(monkeypatch, "import", tmp_path / "m.onnx", "-o", tmp_path / "net.yaml") == 0
    assert "1 layers with MACs" in capsys.readouterr().out
    assert (tmp_path / "net.yaml").exists()


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("name", [name for name, (_, sentence) in CASES.items() if sentence])
def test_a_broken_file_gives_one_sentence(name, tmp_path, monkeypatch, capsys):
    data, sentence = CASES[name]
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    outputs = ["-o", tmp_path / "net.yaml", "--strip", tmp_path / "s.onnx", "--plan", tmp_path / "p.yaml"]
    assert run(monkeypatch, "import", path, *outputs[: 4 if name != "text" else 6]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(sentence, told.err)
    first, *more = told.err.strip().splitlines()
    assert not more or first.endswith(f": {len(more)} problems")
    assert "Traceback" not in told.err
    assert [item.name for item in tmp_path.iterdir()] == ["broken.onnx"]


@pytest.mark.usefixtures("ten_seconds")
@pytest.mark.parametrize("name", [name for name, (_, sentence) in CASES.items() if not sentence])
def test_an_odd_file_is_read_or_refused(name, tmp_path):
    """What such a file means is open; it must not crash, and its convolution counts if it is read."""
    path = tmp_path / "odd.onnx"
    path.write_bytes(CASES[name][0])
    with contextlib.suppress(InputError):
        assert import_onnx(path).network.macs == 4 * 36 * 27


def test_files_that_are_no_files(tmp_path, monkeypatch, capsys):
    for path, sentence in ((tmp_path, "is a folder"), (tmp_path / "none.onnx", "no such file")):
        assert run(monkeypatch, "import", path, "-o", tmp_path / "net.yaml") == 2
        assert sentence in capsys.readouterr().err
    (tmp_path / "m.onnx").write_bytes(SOUND)
    assert run(monkeypatch, "import", tmp_path / "m.onnx", "-o", tmp_path / "none" / "net.yaml") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert (
        run(monkeypatch, "import", tmp_path / "m.onnx", "-o", tmp_path / "n.yaml", "--plan", tmp_path / "p.yaml") == 2
    )
    assert "has no quantized layer" in capsys.readouterr().err
    assert not (tmp_path / "n.yaml").exists()


@pytest.mark.parametrize("option", [("--batch", "0"), ("--dim", "rows"), ("--dim", "rows=-1"), ("--dim", "rows=3")])
def test_wrong_options(option, tmp_path, monkeypatch, capsys):
    (tmp_path / "m.onnx").write_bytes(SOUND)
    assert run(monkeypatch, "import", tmp_path / "m.onnx", "-o", tmp_path / "n.yaml", *option) == 2
    assert option[0] in capsys.readouterr().err
    assert not (tmp_path / "n.yaml").exists()


@pytest.mark.usefixtures("ten_seconds")
def test_random_damage_never_crashes(tmp_path):
    """Flipped bytes and cuts at seeded places: every file is read or refused in an InputError."""
    rng = np.random.default_rng(0)
    path = tmp_path / "m.onnx"
    refused = 0
    for _ in range(300):
        data = bytearray(SOUND)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)] if rng.random() < 0.3 else data))
        try:
            assert import_onnx(path).network.macs > 0
        except InputError:
            refused += 1
    assert refused > 50


def test_changed_nodes_of_quantized_and_fused_models_never_crash(tmp_path):
    """Inputs, attributes and operators of sound models at random: read or refused, nothing else."""
    rng = np.random.default_rng(0)
    kinds = [
        "QLinearAdd", "QGemm", "FusedMatMul", "FusedConv", "Attention", "QAttention", "EmbedLayerNormalization", "Einsum", "LSTM",
        "DynamicQuantizeLSTM", "QLinearConcat", "If", "MatMulNBits", "GroupQueryAttention", "Gather", "Conv", "Shape",
    ]  # fmt: skip
    for _ in range(150):
        kind, count = rng.choice(kinds), rng.integers(0, 9)
        node = helper.make_node(
            str(kind), [str(name) for name in rng.choice(["x", "w", "v", ""], count)], ["y"], name="n",
            domain=str(rng.choice(["", "com.microsoft"])), num_heads=int(rng.integers(-1, 5)), equation="...ij,jk",
            hidden_size=int(rng.integers(-2, 4)), qkv_hidden_sizes=[8, 8], group=int(rng.integers(-1, 3)),
        )  # fmt: skip
        last = helper.make_node("MatMul", ["x", "w"], ["z"], name="sound")
        graph = helper.make_graph(
            [node, last],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 8])],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.zeros((8, 24), np.float32), "w"),
                numpy_helper.from_array(np.zeros(3, np.int64), "v"),
            ],
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        path = tmp_path / "m.onnx"
        onnx.save(helper.make_model(graph, opset_imports=imports), path)
        layers = ()
        with contextlib.suppress(InputError):
            layers = import_onnx(path).network.mac_layers
        assert not layers or "sound" in [layer.name for layer in layers]
