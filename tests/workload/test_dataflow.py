"""Who reads whose result: from files, ONNX graphs and torch modules alike."""

from pathlib import Path

import onnx
import pytest

from dse.errors import InputError
from dse.shipped import find_file, shipped_names
from dse.workload import load_workload
from dse.workload.from_onnx.network import import_onnx
from dse.workload.load import network_from_document
from dse.workload.model import network_text
from dse.yaml_input import parse_yaml

ZOO = Path(onnx.__file__).parent / "backend/test/data/light"


def network(text, name="net"):
    return network_from_document(parse_yaml(text, f"{name}.yaml"), name)


def unread(net):
    """Layers whose result nobody reads; what is read exists before its reader, but for the state of a recurrent layer."""
    known, read = {""}, set()
    every = {layer.name for layer in net.layers}
    for layer in net.layers:
        names = {*layer.reads, *layer.reads_second}
        assert names, layer
        assert names <= (known if layer.repeats == 1 else every | {""}), layer
        known.add(layer.name)
        read |= names
    return every - read


#: Files of explicit nests do not say who reads what.
OPERATIONS = [name for name in shipped_names("workloads") if "\nnests:" not in find_file(name, "workloads").read_text()]


@pytest.mark.parametrize("name", OPERATIONS)
def test_all_results_but_the_last_are_read(name):
    net = load_workload(name)
    assert unread(net) == {net.layers[-1].name}
    assert network(network_text(net), name).layers == net.layers


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "inception_v2", "shufflenet", "squeezenet"])
def test_results_of_onnx_graphs_are_read(name):
    net = import_onnx(ZOO / f"light_{name}.onnx").network
    assert unread(net) == {net.layers[-1].name}
    sums = [layer for layer in net.layers if layer.kind == "add"]
    assert all(layer.reads and layer.reads_second and layer.reads != layer.reads_second for layer in sums)
    assert network(network_text(net)).layers == net.layers


BLOCK = """source: test
batch: 1
samples: 1
epochs: 1
optimizer: sgd
input: {C: 8, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 8, R: 3, pad: 1, then: [relu]}
  - op: residual
    name: sum
    main: [{op: conv, name: inside, K: 8, R: 3, pad: 1, then: [gelu]}]
  - op: concat
    branches: [[{op: conv, name: left, K: 4}], [{op: pool, name: right, R: 3, pad: 1}]]
  - {op: conv, name: last, K: 8}
"""


def test_sums_read_both_branches_and_joined_channels_all_of_theirs():
    by_name = {layer.name: layer for layer in network(BLOCK).layers}
    reads = {name: (layer.reads, layer.reads_second) for name, layer in by_name.items()}
    assert reads["first"] == (("",), ())
    assert reads["sum"] == (("inside.gelu",), ("first.relu",))
    assert reads["left"] == reads["right"] == (("sum",), ())
    assert reads["last"] == (("left", "right"), ())
    assert [by_name[name].function for name in ("first.relu", "inside.gelu", "right")] == ["relu", "gelu", "max"]


def test_torch_modules_give_the_same_edges():
    torch = pytest.importorskip("torch")
    from dse.workload.from_torch.trace import trace

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inside = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)
            self.left, self.last = torch.nn.Conv2d(8, 4, 1), torch.nn.Conv2d(12, 8, 1)
            self.relu, self.gelu, self.pool = torch.nn.ReLU(), torch.nn.GELU(), torch.nn.MaxPool2d(3, 1, 1)

        def forward(self, x):
            x = self.relu(self.first(x))
            x = self.gelu(self.inside(x)) + x
            return self.last(torch.cat([self.left(x), self.pool(x).permute(0, 1, 3, 2).contiguous()], 1))

    net = trace(Block(), torch.zeros(2, 8, 8, 8))
    reads = {layer.name: (layer.reads, layer.reads_second) for layer in net.layers}
    assert reads["first"] == (("",), ())
    assert reads["add"] == (("gelu",), ("relu",))
    assert reads["left"] == reads["pool"] == (("add",), ())
    assert reads["last"] == (("left", "pool"), ())
    assert [layer.function for layer in net.layers if layer.kind == "activation"] == ["relu", "gelu"]


def test_edges_of_explicit_nests_are_checked():
    head = "source: test\nbatch: 1\nsamples: 1\nepochs: 1\noptimizer: sgd\nnests:\n"
    wrong = (
        head + "  - {name: a, kind: fc, K: 4, C: 4, reads: [b]}\n"
        "  - {name: b, kind: activation, G: 4, function: gellu}\n"
        "  - {name: c, kind: fc, K: 4, C: 4, reads_second: [a], function: relu}\n"
    )
    with pytest.raises(InputError) as error:
        network(wrong)
    said = str(error.value)
    for part in ("no earlier layer named 'b'", "did you mean 'gelu'", "goes with 'reads'", "a fc layer does not use this key"):
        assert part in said
