"""Traced attention whose keys several heads share, however they are repeated; exported, it imports alike."""

import warnings

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import dse  # noqa: E402


def expanded(x):
    samples, pairs, rows, width = x.shape
    return x[:, :, None].expand(samples, pairs, 4, rows, width).reshape(samples, 4 * pairs, rows, width)


REPEATS = {
    "expand": expanded,
    "interleave": lambda x: x.repeat_interleave(4, 1),
    "repeat": lambda x: x.repeat(1, 4, 1, 1),
    "cat": lambda x: torch.cat([x] * 4, 1),
    "stack": lambda x: torch.stack([x] * 4, 2).flatten(1, 2),
}


class Attention(nn.Module):
    """Eight heads of queries on two of keys, as Llama writes it: rotated by position, repeated, multiplied."""

    def __init__(self, repeat, late=False):
        super().__init__()
        self.q, self.k, self.v, self.o = nn.Linear(32, 32), nn.Linear(32, 8), nn.Linear(32, 8), nn.Linear(32, 32)
        self.repeat, self.late = repeat, late
        self.register_buffer("cos", torch.ones(6, 4))

    def rotated(self, x):
        half = torch.cat([-x[..., 2:], x[..., :2]], -1)
        return x * self.cos + half * self.cos

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        k = self.rotated(self.repeat(k)) if self.late else self.repeat(self.rotated(k))
        y = torch.softmax(self.rotated(q) @ k.transpose(2, 3) / 2, -1) @ self.repeat(v)
        return self.o(y.transpose(1, 2).flatten(2))


def products(net):
    return [(x.G, x.N, x.K, x.C, x.second_elements) for x in net.mac_layers if x.kind == "matmul"]


EXPECTED = [(2, 24, 6, 4, 48), (2, 24, 4, 6, 48)]


@pytest.mark.parametrize(
    ("spelling", "late", "batch"),
    [*((spelling, False, 4) for spelling in REPEATS), ("expand", True, 3), ("repeat", True, 4), ("expand", False, 1)],
)
def test_keys_that_heads_share_are_counted_once(spelling, late, batch):
    net = dse.trace(Attention(REPEATS[spelling], late), torch.zeros(batch, 6, 32))
    assert products(net) == EXPECTED
    assert net.macs == 6 * 32 * (32 + 8 + 8 + 32) + 2 * 8 * 36 * 4
    assert {layer.passes for layer in net.mac_layers if layer.kind == "matmul"} == {("forward", "backward_data", "backward_weight")}


def test_grouped_queries_of_torch():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(32, 32), nn.Linear(32, 16)

        def forward(self, x):
            q = self.q(x).unflatten(-1, (8, 4)).transpose(1, 2)
            k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.kv(x).chunk(2, -1))
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    assert products(dse.trace(Model(), torch.zeros(2, 6, 32))) == EXPECTED


def test_heads_of_their_own_are_all_counted():
    """A scale per head of queries, and keys that are the same for all samples but not for all heads."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.scale = nn.Linear(32, 32), nn.Linear(32, 8), nn.Parameter(torch.ones(8, 1, 1))

        def forward(self, x):
            q = self.q(x).unflatten(-1, (8, 4)).transpose(1, 2)
            k = expanded(self.k(x).unflatten(-1, (2, 4)).transpose(1, 2)) * self.scale
            return q @ k.transpose(2, 3)

    assert products(dse.trace(Model(), torch.zeros(2, 6, 32))) == [(8, 6, 6, 4, 8 * 24)]


@pytest.mark.parametrize(("spelling", "dynamo"), [("expand", False), ("expand", True), ("repeat", False)])
def test_exported_attention_imports_alike(spelling, dynamo, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from dse.workload.from_onnx.network import import_onnx

    model = Attention(REPEATS[spelling]).eval()
    options = {"external_data": False} if dynamo else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(2, 6, 32),), tmp_path / "m.onnx", dynamo=dynamo, verbose=False, **options)
    assert products(import_onnx(tmp_path / "m.onnx").network) == EXPECTED
