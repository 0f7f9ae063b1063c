"""Any torch module in low precision: products found and named as the trace names them, rounded as by hand, in any loop."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import dse  # noqa: E402
from dse.errors import InputError  # noqa: E402
from dse.precision.formats.properties import parse_format  # noqa: E402
from dse.training.rounded.layers import Linear, store  # noqa: E402

INT4 = parse_format("int4")


class Everything(nn.Module):
    """One of each product that a network may have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular")
        self.emb = nn.Linear(8, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.enc = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.cross = nn.MultiheadAttention(16, 2, batch_first=True)
        self.rnn = nn.LSTM(16, 6, num_layers=2, batch_first=True, bidirectional=True, proj_size=4)
        self.gru = nn.GRU(8, 8)
        self.plain = nn.RNN(8, 6)
        self.cell = nn.LSTMCell(6, 6)
        self.image = nn.Conv2d(1, 4, 3, groups=1, stride=2)
        self.volume = nn.ConvTranspose3d(1, 2, 2)
        self.table = nn.Parameter(torch.randn(6, 5))

    def forward(self, x):
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        x = self.enc(self.emb(x))
        x = self.cross(x, x[:, :3], x[:, :3])[0]
        x = self.plain(self.gru(self.rnn(x)[0])[0])[0]
        h, _ = self.cell(x[:, -1], (x[:, 0], x[:, 1]))
        image = self.image(x[:, None]).sum() + self.volume(x[:, None, None]).sum()
        scores = torch.einsum("bti,bsi->bts", x, x).sum((1, 2))
        return h @ self.table + image * 0.01 + scores[:, None] + torch.addmm(h.sum(), h, h.T).sum()


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    return Everything(), torch.randn(2, 4, 8)


def gradients(module, x):
    module.zero_grad()
    module(x).square().mean().backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_every_product_is_wrapped_by_its_name_and_unrounded_nothing_changes(made):
    module, x = copy.deepcopy(made[0]), made[1]
    wanted, expected = module(x), gradients(module, x)
    prepared = dse.prepare(module, x, "fp32")
    assert prepared.unwrapped == {}
    assert {layer.name for layer in prepared.network.mac_layers} - set(prepared.controls) <= {"cross.in_proj_2"}
    assert torch.allclose(module(x), wanted, atol=1e-5)
    for found, own in zip(gradients(module, x), expected, strict=True):
        assert torch.allclose(found, own, atol=1e-4)
    prepared.restore()
    assert torch.equal(module(x), wanted)


def test_each_layer_alone_changes_the_outputs_and_all_give_finite_gradients(made):
    module, x = copy.deepcopy(made[0]), made[1]
    exact = module(x)
    prepared = dse.prepare(module, x, "fp32")
    for control in prepared.controls.values():
        control.take(INT4, INT4, INT4)
        with torch.no_grad():
            assert not torch.equal(module(x), exact)
        control.take(None, None, None)
    for control in prepared.controls.values():
        control.take(INT4, INT4, INT4)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients(module, x))


def test_a_linear_layer_is_rounded_as_the_one_of_the_package():
    torch.manual_seed(1)
    module, own, x = nn.Linear(12, 5), Linear(12, 5), torch.randn(7, 12, requires_grad=True)
    own.load_state_dict(module.state_dict())
    own.control.take(INT4, parse_format("int8"), parse_format("int6"), parse_format("int3"), parse_format("int5"), parse_format("bf16"))
    own.control.stochastic = frozenset()
    net = dse.trace(module, x)
    plan = dse.Plan.uniform(net, "int4", "int8", "int6", gradient="int5", stash="int3", result="bf16")
    dse.prepare(module, x, plan, stochastic=())
    results = []
    for layer in (module, own):
        x.grad = None
        y = layer(x)
        y.pow(3).sum().backward()
        results.append([y, x.grad, layer.weight.grad, layer.bias.grad])
    for found, expected in zip(*results, strict=True):
        assert torch.equal(found, expected)


def test_the_backward_passes_read_what_was_rounded_by_hand():
    torch.manual_seed(2)
    module, x = nn.Conv2d(3, 4, 3, bias=False), torch.randn(2, 3, 6, 6, requires_grad=True)
    dse.prepare(module, x, "w4a4e4", stochastic=())
    y = module(x)
    above = torch.randn_like(y)
    y.backward(above)
    w, a, e = (store(t.detach(), INT4, kind, True) for t, kind in ((module.weight, "weight"), (x, "activation"), (above, "error")))
    assert torch.allclose(y, functional.conv2d(a, w), atol=1e-5)
    assert torch.allclose(x.grad, torch.nn.grad.conv2d_input(x.shape, w, e), atol=1e-5)
    assert torch.allclose(module.weight.grad, torch.nn.grad.conv2d_weight(a, w.shape, e), atol=1e-5)


def test_attention_equals_its_two_products():
    torch.manual_seed(3)

    class Attention(nn.Module):
        def forward(self, q, k, v):
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    module, (q, k, v) = Attention(), torch.randn(3, 2, 4, 5, 8)
    prepared = dse.prepare(module, (q, k, v), "int4", stochastic=())
    assert list(prepared.controls) == ["matmul", "matmul_2"]
    scores = store(q, INT4, "activation", False) @ store(k, INT4, "weight", False).transpose(-2, -1) / 8**0.5
    weights = torch.softmax(scores.masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf), -1)
    expected = store(weights, INT4, "activation", False) @ store(v.transpose(-2, -1), INT4, "weight", False).transpose(-2, -1)
    assert torch.allclose(module(q, k, v), expected, atol=1e-6)


class Blocks(nn.Module):
    def __init__(self, recompute=False):
        super().__init__()
        self.first, self.second = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 3)
        self.recompute = recompute

    def forward(self, x):
        x = checkpoint(self.first, x, use_reentrant=False) if self.recompute else self.first(x)
        return self.second(x)


def test_checkpoints_accumulation_autocast_and_copies():
    torch.manual_seed(4)
    plain, again, x = Blocks(), Blocks(recompute=True), torch.randn(8, 6)
    again.load_state_dict(plain.state_dict())
    for module in (plain, again):
        dse.prepare(module, x, "mxfp8_e4m3", stochastic=())
    whole = gradients(plain, x)
    for found, own in zip(gradients(again, x), whole, strict=True):
        assert torch.equal(found, own)
    plain.zero_grad()
    for part in x.split(4):
        (plain(part).square().sum() / 24).backward()
    for parameter, own in zip(plain.parameters(), whole, strict=True):
        assert torch.allclose(parameter.grad, own, atol=1e-6)
    twin = copy.deepcopy(plain)
    assert torch.equal(twin(x), plain(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = plain(x)
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), plain(x), atol=0.05)
    low.sum().backward()


def test_compiled_modules_are_rounded_like_others():
    """Compiled and run before or compiled after; a backend that runs the captured graph as it is stands for all."""
    torch.manual_seed(8)
    module, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(8, 6)
    before = torch.compile(module, backend="eager")
    exact = before(x)
    prepared = dse.prepare(module, x, dse.Schedule.piecewise([(1, "w4a4e4"), (1, "w3a8e6")]), stochastic=())
    after = torch.compile(module, backend="eager")
    for _ in range(2):
        whole, wanted = gradients(module, x), module(x)
        assert not torch.equal(wanted, exact)
        for made in (before, after):
            assert torch.equal(made(x), wanted)
            for found, own in zip(gradients(made, x), whole, strict=True):
                assert torch.allclose(found, own, atol=1e-7)
        prepared.step()
    prepared.restore()
    assert torch.equal(before(x), exact)


def test_a_schedule_is_followed_told_and_resumed():
    torch.manual_seed(6)
    module, x = Blocks(), torch.randn(16, 6)
    schedule = dse.Schedule.cyclic(3, 8, 8, cycles=2, iterations=12)

    def run(prepared, optimizer, steps):
        for _ in range(steps):
            loss = prepared.module(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            prepared.step(loss)

    start = copy.deepcopy(module.state_dict())
    prepared = dse.prepare(module, x, schedule)
    run(prepared, torch.optim.SGD(module.parameters(), lr=0.1), 12)
    net = prepared.network
    assert prepared.schedule().plans(net) == schedule.plans(net)
    other = Blocks()
    other.load_state_dict(start)
    half = dse.prepare(other, x, schedule)
    run(half, torch.optim.SGD(other.parameters(), lr=0.1), 5)
    saved = copy.deepcopy(other.state_dict())
    resumed = dse.prepare(Blocks(), x, schedule)
    resumed.module.load_state_dict(saved)
    assert resumed.iteration == 5
    run(resumed, torch.optim.SGD(resumed.module.parameters(), lr=0.1), 7)
    for found, own in zip(resumed.module.parameters(), module.parameters(), strict=True):
        assert torch.equal(found, own)
    assert resumed.schedule().plans(net) == schedule.plans(net)
    assert "dse_prepared.losses" not in resumed.restore().state_dict()


@pytest.mark.parametrize("policy", ["fractrain", "adapt", "dynasty"])
def test_policies_decide_on_any_module(policy):
    torch.manual_seed(7)
    module, x = Blocks(), torch.randn(16, 6)
    prepared = dse.prepare(module, x, policy, iterations=60)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(60):
        loss = module(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        prepared.step(loss)
    schedule = prepared.schedule()
    assert prepared.network == dse.trace(Blocks(), x)
    assert sum(phase.iterations for phase in schedule.phases) == 60
    assert len(schedule.phases) > 1


def test_what_runs_out_of_sight_is_named_with_its_share():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.scripted = nn.Linear(4, 4), torch.jit.trace(nn.Linear(4, 12), torch.zeros(2, 4))

        def forward(self, x):
            return self.scripted(self.fc(x))

    module, x = Packed(), torch.randn(2, 4)
    prepared = dse.prepare(module, x, "int8")
    assert list(prepared.controls) == ["fc"]
    assert prepared.unwrapped == pytest.approx({"scripted": 0.75})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: dse.prepare(m, x, "w8a8x8"), "is no plan"),
        (lambda m, x: dse.prepare(m, x, "fractrain"), "needs the steps of the whole run"),
        (lambda m, x: dse.prepare(m, x, dse.Plan.uniform(dse.load_workload("unet"))), "the plan of unet has no layer first.0, second"),
        (lambda m, x: dse.prepare(m, x, "int8,master=bf16"), "the master is kept in float32"),
        (lambda m, x: dse.prepare(nn.ReLU(), x, "int8"), "nothing in it multiplies"),
        (lambda m, x: [dse.prepare(m, x, "int8"), dse.prepare(m, x, "int8")], "prepared already; restore() it first"),
        (lambda m, x: dse.prepare(m, x, "int8").schedule(), "no step was done"),
        (lambda m, x: dse.prepare(m, x, "adapt").state_dict(), "cannot be resumed"),
    ],
)
def test_errors_say_the_way_out(call, message):
    with pytest.raises(InputError) as caught:
        call(Blocks(), torch.zeros(2, 6))
    assert message in str(caught.value)


def test_an_error_inside_leaves_no_rounding_behind():
    module = Blocks()
    dse.prepare(module, torch.zeros(2, 6), "int4")
    with pytest.raises(RuntimeError):
        module(torch.zeros(2, 5))
    a, b = torch.randn(3, 4), torch.randn(4, 2)
    assert torch.allclose(a @ b, torch.from_numpy(np.matmul(a.numpy(), b.numpy())), atol=1e-6)
    assert torch.isfinite(module(torch.zeros(2, 6))).all()
