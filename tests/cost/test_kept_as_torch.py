"""What the way back reads, tensor by tensor, against what torch saves for its own backward pass."""

import pytest

from dse.workload.work.tensors import tensors_of

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from dse.workload.from_torch.trace import trace  # noqa: E402


class Blocks(nn.Module):
    """Convolutions with norms, a function and a shortcut."""

    def __init__(self, function):
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.m = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.c, self.function = nn.Conv2d(8, 4, 1), function

    def forward(self, x):
        x = self.function(self.n(self.a(x)))
        x = self.function(self.m(self.b(x)) + x)
        return self.c(x)


class Transformer(nn.Module):
    """A pre-norm block of width 16 and two heads."""

    def __init__(self, function):
        super().__init__()
        self.first, self.l1, self.l2 = nn.Linear(16, 16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.f1, self.f2, self.function = nn.Linear(16, 64), nn.Linear(64, 16), function

    def forward(self, x):
        x = self.first(x)
        b, t, _ = x.shape
        y = self.l1(x)
        q, k, v = (f(y).view(b, t, 2, 8).transpose(1, 2) for f in (self.q, self.k, self.v))
        p = torch.softmax(q @ k.transpose(-1, -2), -1)
        x = x + self.o((p @ v).transpose(1, 2).reshape(b, t, 16))
        return x + self.f2(self.function(self.f1(self.l2(x))))


def saved(module, x, statistics):
    """Sizes of the tensors that autograd saves, each storage once, without parameters and the statistics of norms."""
    own = {item.untyped_storage()._cdata for item in (*module.parameters(), *module.buffers())}
    sizes, held = {}, []

    def pack(tensor):
        held.append(tensor)  # an address is a tensor's as long as it lives
        place = tensor.untyped_storage()._cdata
        if place not in own and tensor.is_floating_point():
            sizes[place] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x).sum().backward()
    return sorted(size for size in sizes.values() if size > statistics)


FUNCTIONS = [nn.ReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Mish]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("make", "shape", "statistics"), [(Blocks, (2, 3, 8, 8), 8), (Transformer, (2, 8, 16), 16)])
def test_the_same_tensors_are_kept(make, shape, statistics, function):
    module, x = make(function()), torch.rand(shape)
    net = trace(module, x)
    ours = sorted(net.batch * tensor.kept() for tensor in tensors_of(net).tensors if tensor.kept())
    assert ours == saved(module, x, statistics)
