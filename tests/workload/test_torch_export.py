"""A module has the same layers, under the same names, traced, exported by either of torch's exporters, and in its own parameters."""

import logging
import warnings

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import dse  # noqa: E402
from dse.accuracy.measuring.onnx_model import open_onnx  # noqa: E402
from dse.workload.from_onnx.network import import_onnx  # noqa: E402
from dse.workload.from_onnx.strip import strip_onnx  # noqa: E402


class Unit(nn.Module):
    """Sequences in a sequence, a norm that exporters fold, functions beside modules, a block that pads before it convolves."""

    def __init__(self):
        super().__init__()
        self.c1, self.bn, self.act = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.seq = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))

    def forward(self, x):
        return F.relu(self.act(self.bn(self.c1(F.pad(x, (1, 1, 1, 1))))) * self.seq(x))


class Convolutional(nn.Module):
    """Lists of modules, a module that runs twice on maps of two sizes, and a classifier of its own parameter."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = Unit(), nn.ModuleList([Unit(), nn.ModuleDict({"a": Unit(), "b": nn.Conv2d(4, 4, 1, groups=2)})])
        self.shared, self.head = nn.Conv2d(4, 4, 3), nn.Parameter(torch.zeros(8, 5))

    def forward(self, x):
        x = self.blocks[0](self.stem(x))
        x = self.blocks[1]["b"](self.blocks[1]["a"](x))
        pooled = [self.shared(y).mean((2, 3)) for y in (x, F.max_pool2d(x, 2))]
        return torch.cat(pooled, 1) @ self.head


class Block(nn.Module):
    """Attention written out, with linear layers without biases."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48, bias=False), nn.Linear(16, 16, bias=False)
        self.norm, self.mlp = nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        y = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class Language(nn.Module):
    """Embeddings, blocks, torch's own attention within and across, which cuts its weights, and a list in a module of its name."""

    def __init__(self):
        super().__init__()
        decoder = nn.TransformerDecoderLayer(16, 2, 24, batch_first=True, dropout=0.0)
        self.table, self.blocks, self.layers = nn.Embedding(30, 16), nn.ModuleList([Block(), Block()]), nn.TransformerDecoder(decoder, 2)
        self.head = nn.Linear(16, 30, bias=False)

    def forward(self, ids):
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.layers(x, x[:, :3]))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.deep, self.last = nn.Linear(8, 8), nn.LSTM(8, 6, 2, batch_first=True), nn.GRU(6, 4, batch_first=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.last(self.deep(self.start(x))[0])[0])


class Wrapped(nn.Module):
    """Modules that are called like an operator."""

    def __init__(self):
        super().__init__()
        self.Conv, self.MatMul = nn.Conv1d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.MatMul(self.Conv(x).transpose(1, 2))


CASES = {
    Convolutional: torch.zeros(2, 4, 12, 12),
    Language: torch.zeros(2, 7, dtype=torch.long),
    Recurrent: torch.zeros(2, 5, 8),
    Wrapped: torch.zeros(2, 3, 9),
}
EXPORTERS = {"by scripting": {"dynamo": False}, "by dynamo": {"dynamo": True, "external_data": False}}


def exported(model, inputs, path, exporter):
    torch.manual_seed(0)
    for parameter in model.parameters():
        # Equal weights would be written once.
        nn.init.normal_(parameter)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model.eval(), (inputs,), path, verbose=False, **EXPORTERS[exporter])
    finally:
        logging.disable(logging.NOTSET)
    return path


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_names_and_macs_of_a_trace_and_of_an_import_are_the_same(make, exporter, tmp_path):
    model = make()
    traced = dse.trace(model, CASES[make])
    path = exported(model, CASES[make], tmp_path / "m.onnx", exporter)
    found = import_onnx(path).network
    assert found.batch == traced.batch == 2
    assert sorted((layer.name, layer.macs) for layer in found.mac_layers) == sorted(
        (layer.name, layer.macs) for layer in traced.mac_layers
    )
    strip_onnx(path, tmp_path / "s.onnx")
    assert import_onnx(tmp_path / "s.onnx").network.layers == found.layers


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_layers_are_called_as_their_modules(exporter, tmp_path):
    """Names of the state dict, as HAWQ and Brevitas use them, in the import and in a profile of the same file."""
    model = Convolutional()
    path = exported(model, CASES[Convolutional], tmp_path / "m.onnx", exporter)
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    names = [layer.name for layer in import_onnx(path).network.mac_layers]
    assert sorted(names) == sorted([*modules, "shared_2", "head"])
    pytest.importorskip("onnxruntime")
    measured = open_onnx(path, skip_unsupported=True)
    assert set(measured.layers) == set(modules) - {"shared"} | {"head"}
    assert set(measured.kept) == {"shared", "shared_2"}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_layers_without_weights_are_called_after_their_module_and_what_they_do(exporter, tmp_path):
    net = import_onnx(exported(Convolutional(), CASES[Convolutional], tmp_path / "m.onnx", exporter)).network
    names = {layer.name for layer in net.vector_layers}
    assert {"stem.act", "stem.seq.1.1", "stem.multiply", "stem", "blocks.1.a.act"} <= names
