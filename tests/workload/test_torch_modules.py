"""Traced modules against what torch computes on real tensors: every product counted by the sizes of its operands."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import dse  # noqa: E402
from dse.errors import InputError  # noqa: E402


class Convolutions(nn.Module):
    """Grouped, dilated, depthwise, transposed, not square."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, (3, 5), stride=(2, 1), padding=(1, 2))
        self.b = nn.Conv2d(16, 32, 3, groups=4, dilation=(2, 1), padding=(2, 1))
        self.depthwise, self.norm = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32)
        self.up = nn.ConvTranspose2d(32, 8, 3, stride=2, padding=1, output_padding=1)
        self.grouped_up = nn.ConvTranspose2d(8, 12, (2, 4), stride=(1, 2), groups=4, bias=False)
        self.fc = nn.Linear(12, 7)

    def forward(self, x):
        x = self.norm(self.depthwise(F.relu(self.b(F.relu(self.a(x))))))
        return self.fc(self.grouped_up(self.up(F.max_pool2d(x, 2))).mean((2, 3)))


class Decoder(nn.Module):
    """Attention within and across, whose second one cuts its weights into pieces."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
        self.start, self.layers = nn.Linear(32, 32), nn.TransformerDecoder(layer, 2)

    def forward(self, x):
        return self.layers(self.start(x), x[:, :5])


class Tied(nn.Module):
    """The classifier reads the table of the embedding."""

    def __init__(self):
        super().__init__()
        self.table, self.position = nn.Embedding(50, 32), nn.Parameter(torch.zeros(1, 9, 32))
        self.qkv, self.out, self.head = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 50, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.table(ids) + self.position
        q, k, v = (part.unflatten(-1, (4, 8)).transpose(1, 2) for part in self.qkv(x).split(32, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(y.transpose(1, 2).flatten(2)))


class Experts(nn.Module):
    """Weights of all experts as one parameter."""

    def __init__(self):
        super().__init__()
        self.start, self.gate = nn.Linear(16, 16), nn.Linear(16, 4)
        self.up, self.down = nn.Parameter(torch.zeros(4, 16, 8)), nn.Parameter(torch.zeros(4, 8, 16))

    def forward(self, x):
        x = self.start(x)
        h = F.silu(torch.einsum("btd,edh->beth", x, self.up))
        y = torch.einsum("beth,ehd->betd", h, self.down)
        return torch.einsum("betd,bte->btd", y, self.gate(x).softmax(-1))


class PerHead(nn.Module):
    """Weights of every head, broadcast over the batch."""

    def __init__(self):
        super().__init__()
        self.start, self.heads, self.bias = (
            nn.Linear(16, 16),
            nn.Parameter(torch.zeros(4, 16, 8)),
            nn.Parameter(torch.zeros(8)),
        )

    def forward(self, x):
        return self.start(x) @ self.heads + self.bias


class SharedHead(nn.Module):
    """One convolution over maps of three sizes, as in RetinaNet."""

    def __init__(self):
        super().__init__()
        self.stem, self.head, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        maps = [x, F.avg_pool2d(x, 2), F.max_pool2d(x, 4)]
        return self.fc(sum(self.head(each).mean((2, 3)) for each in maps))


class Adapted(nn.Module):
    """Low-rank adapters beside frozen layers."""

    def __init__(self):
        super().__init__()
        self.first, self.base, self.last = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
        for layer in (self.first, self.base, self.last):
            layer.requires_grad_(False)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(F.relu(self.base(x) + self.up(self.down(x))))


class FakeQuantized(nn.Module):
    """Weights that are computed from weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        def rounded(w):
            step = w.abs().amax() / 7 + 1e-6
            return w + ((w / step).round() * step - w).detach()

        return F.linear(F.relu(F.linear(x, rounded(self.a.weight), self.a.bias)), rounded(self.b.weight), self.b.bias)


class LearnedQueries(nn.Module):
    def __init__(self):
        super().__init__()
        self.queries, self.kv, self.q = nn.Parameter(torch.zeros(1, 4, 16)), nn.Linear(16, 32), nn.Linear(16, 16)

    def forward(self, x):
        k, v = self.kv(x).chunk(2, -1)
        return F.scaled_dot_product_attention(self.q(self.queries.expand(len(x), -1, -1)), k, v)


class LastAxis(nn.Module):
    """A block of ConvNeXt: a norm over the last axis of an image, a scale per channel."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 64), nn.Linear(64, 16)
        self.gamma = nn.Parameter(torch.ones(16))

    def forward(self, x):
        x = self.stem(x)
        y = self.gamma * self.down(F.gelu(self.up(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))))
        return x + y.permute(0, 3, 1, 2)


class Instances(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.b(F.leaky_relu(self.norm(self.a(x))))


class Signal(nn.Module):
    """One spatial axis, and a linear layer over a transposed tensor, whose bias is a sum of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 8, 5, stride=2, groups=2, dilation=2), nn.ConvTranspose1d(8, 6, 4, 2)
        self.norm, self.fc = nn.GroupNorm(2, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(F.avg_pool1d(self.norm(self.b(self.a(x))), 2).transpose(1, 2))


class Volumes(nn.Module):
    """Three spatial axes, whose strides and filters all differ."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = nn.Conv3d(3, 8, (3, 2, 5), stride=(1, 2, 3), padding=1), nn.BatchNorm3d(8)
        self.up, self.b = nn.ConvTranspose3d(8, 6, (2, 3, 1), 2, groups=2), nn.Conv3d(6, 4, (1, 3, 3), dilation=(1, 2, 1))

    def forward(self, x):
        x = self.up(F.max_pool3d(F.relu(self.norm(self.a(x))), 2))
        return self.b(F.interpolate(F.avg_pool3d(x, (1, 2, 1)), scale_factor=2))


CASES = {
    Convolutions: torch.zeros(2, 3, 40, 24),
    Decoder: torch.zeros(2, 9, 32),
    Tied: torch.zeros(2, 9, dtype=torch.long),
    Experts: torch.zeros(2, 5, 16),
    PerHead: torch.zeros(2, 4, 5, 16),
    SharedHead: torch.zeros(2, 3, 32, 32),
    Adapted: torch.zeros(2, 6, 32),
    FakeQuantized: torch.zeros(2, 8, 16),
    LearnedQueries: torch.zeros(2, 12, 16),
    LastAxis: torch.zeros(2, 3, 32, 32),
    Instances: torch.zeros(2, 3, 16, 16),
    Signal: torch.zeros(2, 4, 100),
    Volumes: torch.zeros(2, 3, 8, 20, 24),
}


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Multiply-accumulates of what really runs."""

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        operator = func.overloadpacket.__name__
        if operator == "convolution":
            self.macs += (args[0] if args[6] else made).numel() * args[1][0].numel()
        elif operator == "convolution_backward":
            self.macs += (args[1] if args[7] else args[0]).numel() * args[2][0].numel() * sum(args[10][:2])
        elif operator in ("mm", "bmm", "addmm", "baddbmm"):
            first, second = args[-2:] if len(args) < 4 else args[1:3]
            self.macs += first.numel() * second.shape[-1]
        return made


def counted(model, inputs):
    """Multiply-accumulates of the forward and of the backward pass, on real tensors."""
    with torch.nn.attention.sdpa_kernel([torch.nn.attention.SDPBackend.MATH]):
        with Products() as forward:
            made = model(inputs)
        with Products() as backward:
            made.sum().backward()
    return forward.macs, backward.macs


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_macs_of_both_passes_and_parameters_are_those_of_torch(make):
    model, inputs = make(), CASES[make]
    net = dse.trace(model, inputs)
    backward = sum(layer.macs * (len(layer.passes) - 1) for layer in net.mac_layers)
    assert (net.macs * net.batch, backward * net.batch) == counted(model, inputs)
    assert net.parameters == sum(item.numel() for item in model.parameters())
    assert sum(layer.trained_parameters for layer in net.layers) == sum(
        item.numel() for item in model.parameters() if item.requires_grad
    )
    assert len({layer.name for layer in net.layers}) == len(net.layers)


@pytest.mark.parametrize("shape", [(7, 2, 16), (2, 7, 16)], ids=["steps first", "batch first"])
def test_recurrent_modules_take_the_passes_of_every_step(shape):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            first = shape[0] == 2
            self.start, self.rnn = nn.Linear(16, 16), nn.GRU(16, 24, 2, bidirectional=True, batch_first=first)

        def forward(self, x):
            return self.rnn(self.start(x))[0]

    net = dse.trace(Model(), torch.zeros(shape))
    assert net.batch == 2
    assert net.macs == 7 * (16 * 16 + 2 * 72 * (16 + 24 + 48 + 24))
    assert net.parameters == sum(item.numel() for item in Model().parameters())
    products = [layer for layer in net.mac_layers if layer.name != "start"]
    # Inputs of all steps at once, states one after the other.
    assert {(layer.N, layer.repeats) for layer in products} == {(7, 1), (1, 7)}
    assert {layer.passes for layer in products} == {("forward", "backward_data", "backward_weight")}


def test_recomputed_activations_are_no_gradients():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 8)

        def forward(self, x):
            return self.c(checkpoint(lambda y: self.b(F.relu(self.a(y))), x, use_reentrant=False))

    net = dse.trace(Model(), torch.zeros(2, 6, 32))
    first = ("forward", "backward_weight")
    both = ("forward", "backward_data", "backward_weight")
    assert [layer.passes for layer in net.mac_layers] == [first, both, both]


class Frames(nn.Module):
    """A convolution over the rows of its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(80, 64, 3, padding=1)

    def forward(self, x):
        return self.conv(x.t()[None])


class OneSequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps, self.heads = nn.LSTM(16, 16, batch_first=True), nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        x = self.steps(x)[0]
        return self.heads(x, x, x, need_weights=False)[0]


class Heads(nn.Module):
    """Attention over the rows of a matrix."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(0, 1) for part in self.qkv(x).chunk(3, -1))
        return torch.softmax(q @ k.transpose(1, 2), -1) @ v


class Contrast(nn.Module):
    """Samples that are multiplied with each other at the end are samples all the same."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 8), nn.Linear(16, 8)

    def forward(self, x):
        return self.a(x) @ self.b(x).t()


@pytest.mark.parametrize(
    ("model", "shape", "batch", "macs"),
    [
        (Frames, (100, 80), 1, 1_536_000),
        (lambda: nn.Conv2d(3, 8, 3), (3, 10, 12), 1, 8 * 27 * 80),
        (lambda: nn.Conv2d(3, 8, 3), (2, 3, 10, 12), 2, 8 * 27 * 80),
        (OneSequence, (7, 16), 1, 7 * 2048 + 7 * 4 * 256 + 2 * 49 * 16),
        (Heads, (7, 16), 1, 7 * 768 + 2 * 49 * 16),
        (lambda: nn.Linear(80, 16), (100, 80), 100, 80 * 16),
        (Contrast, (6, 16), 6, 2 * 16 * 8 + 6 * 8),
    ],
)
def test_one_sample_without_a_batch(model, shape, batch, macs):
    net = dse.trace(model(), torch.zeros(shape))
    assert (net.batch, net.macs) == (batch, macs)


def test_the_result_does_not_depend_on_the_batch():
    one, many = (dse.trace(Tied(), torch.zeros(batch, 9, dtype=torch.long)) for batch in (1, 6))
    assert one.layers == many.layers


def test_products_that_no_layer_describes_are_said():
    with pytest.raises(InputError, match="_trilinear"):
        dse.trace(nn.Sequential(Pairs()), torch.zeros(2, 8))


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Bilinear(8, 8, 4)

    def forward(self, x):
        return self.b(self.a(x), x)
