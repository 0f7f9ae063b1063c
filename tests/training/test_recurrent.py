"""LSTM and GRU with rounded products: equal to cells written out, forward and backward."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dse  # noqa: E402
from dse.precision.formats.properties import parse_format  # noqa: E402
from dse.training.rounded.layers import Linear  # noqa: E402

WEIGHT, ACTIVATION, ERROR = (parse_format(name) for name in ("int4", "int5", "int6"))


def lstm(inputs, products, state):
    """Hochreiter and Schmidhuber's cell with a forget gate; torch's order of gates."""
    h, c = state
    i, f, g, o = (inputs + products(h)).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(inputs, products, state):
    """Cho's cell, the reset gate after the product, as in torch."""
    (h,) = state
    (r, z, n), (hr, hz, hn) = inputs.chunk(3, dim=-1), products(h).chunk(3, dim=-1)
    z = (z + hz).sigmoid()
    return ((1 - z) * (n + (r + hr).sigmoid() * hn).tanh() + z * h,)


def own(weight, bias):
    """The package's rounded linear layer, which another test holds against rounding by hand."""
    made = Linear(weight.shape[1], weight.shape[0])
    made.weight.data.copy_(weight.detach())
    made.bias.data.copy_(bias.detach())
    made.control.take(WEIGHT, ACTIVATION, ERROR)
    made.control.stochastic = frozenset()
    return made


@pytest.mark.parametrize(("kind", "cell", "states"), [(nn.LSTM, lstm, 2), (nn.GRU, gru, 1)])
def test_rounded_products_of_a_recurrent_layer_equal_a_cell_written_out(kind, cell, states):
    torch.manual_seed(5)
    module, x = kind(6, 4), torch.randn(5, 3, 6, requires_grad=True)
    exact = module(x)[0].detach()
    prepared = dse.prepare(module, x, f"w{WEIGHT.element_bits}a{ACTIVATION.element_bits}e{ERROR.element_bits}", stochastic=())
    assert prepared.unwrapped == {}
    above = torch.randn(5, 3, 4)
    output, last = module(x)
    output.backward(above)
    found = [output, *(last if isinstance(last, tuple) else (last,)), x.grad.clone(), *(p.grad for p in module.parameters())]
    x.grad = None
    of_input, of_hidden = own(module.weight_ih_l0, module.bias_ih_l0), own(module.weight_hh_l0, module.bias_hh_l0)
    state, hidden, inputs = (torch.zeros(3, 4),) * states, [], of_input(x)
    for t in range(5):
        state = cell(inputs[t], of_hidden, state)
        hidden.append(state[0])
    torch.stack(hidden).backward(above)
    by_hand = [of_input.weight, of_hidden.weight, of_input.bias, of_hidden.bias]
    expected = [torch.stack(hidden), *(part[None] for part in state), x.grad, *(parameter.grad for parameter in by_hand)]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert float((output.detach() - exact).abs().max()) > 1e-3  # rounding did something


def test_packed_sequences_are_left_alone_and_named_with_their_share():
    """Torch runs them in one call that nothing sees into; the rest is rounded."""

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.fc = nn.LSTM(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 5, 5], device="cpu"))
            return self.fc(nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0])

    module, x = Packed(), torch.randn(5, 3, 6)
    prepared = dse.prepare(module, x, "int4")
    shares = {layer.name: layer.macs for layer in prepared.network.mac_layers}
    outside = {name: macs / sum(shares.values()) for name, macs in shares.items() if name != "fc"}
    assert prepared.unwrapped == pytest.approx(outside)
    assert sum(prepared.unwrapped.values()) > 0.9
    assert list(prepared.controls) == ["fc"]
