"""Tracing torch models and importing what torch exports; skipped where torch is not installed."""

import pytest

from dse.errors import InputError
from dse.workload import load_workload
from dse.workload.from_torch.trace import trace

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Bottleneck(nn.Module):
    """Of torchvision's ResNet-50: the stride is on the 3x3."""

    def __init__(self, channels, width, stride, down):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if down:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = (
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, (width, count, stride) in enumerate(((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)), start=1):
            blocks = []
            for index in range(count):
                blocks.append(Bottleneck(channels, width, stride if index == 0 else 1, index == 0))
                channels = 4 * width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(768), nn.LayerNorm(768)
        self.self_attention = nn.MultiheadAttention(768, 12, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Dropout(0.0), nn.Linear(3072, 768))

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class ViT(nn.Module):
    """torchvision's vit_b_16."""

    def __init__(self, layers=12):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 768, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 768))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 197, 768))
        self.layers = nn.Sequential(*(EncoderLayer() for _ in range(layers)))
        self.ln, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, x):
        x = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embedding
        return self.head(self.ln(self.layers(x))[:, 0])


def meta(make):
    with torch.device("meta"):
        return make()


def shapes(network):
    return sorted(
        (x.macs, x.G, x.K, x.C, x.P, x.Q, x.R, x.S, x.stride, x.input_hw, x.passes) for x in network.mac_layers
    )


def training_ratio(network):
    return sum(layer.macs * len(layer.passes) for layer in network.mac_layers) / network.macs


def test_resnet50_runs_the_passes_that_the_file_derives():
    net, shipped = trace(meta(ResNet50), torch.empty(2, 3, 224, 224)), load_workload("imagenet_resnet50")
    assert shapes(net) == shapes(shipped)
    assert training_ratio(net) == pytest.approx(2.971, abs=5e-4)
    assert {x.name: x.passes for x in net.mac_layers} == {x.name: x.passes for x in shipped.mac_layers}
    assert net.parameters == shipped.parameters
    count = {kind: sum(layer.kind == kind for layer in net.layers) for kind in ("norm", "activation", "add", "pool")}
    assert count == {kind: sum(layer.kind == kind for layer in shipped.layers) for kind in count}


def test_vit_has_its_attention_products_with_two_data_passes():
    net, shipped = trace(meta(ViT), torch.empty(4, 3, 224, 224)), load_workload("imagenet_vit_b16")
    assert net.macs == shipped.macs
    assert training_ratio(net) == pytest.approx(training_ratio(shipped), abs=1e-9)
    products = [layer for layer in net.mac_layers if layer.kind == "matmul"]
    assert len(products) == 24
    assert {layer.passes for layer in products} == {("forward", "backward_data", "backward_weight")}
    of = {(x.kind, x.N, x.G, x.K, x.C) for x in net.mac_layers}
    assert of == {(x.kind, x.N, x.G, x.K, x.C) for x in shipped.mac_layers}


def test_llama_block_with_grouped_queries_and_a_gate():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.RMSNorm(64)
            self.q, self.k, self.v, self.o = (nn.Linear(64, size, bias=False) for size in (64, 16, 16, 64))
            self.gate, self.up, self.down = (
                nn.Linear(64, 96, bias=False),
                nn.Linear(64, 96, bias=False),
                nn.Linear(96, 64, bias=False),
            )

        def forward(self, x):
            y = self.norm(x)
            q, k, v = (m(y).unflatten(-1, (-1, 16)).transpose(1, 2) for m in (self.q, self.k, self.v))
            y = nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            x = x + self.o(y.transpose(1, 2).flatten(2))
            return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block, self.head = nn.Embedding(50, 64), Block(), nn.Linear(64, 50, bias=False)

        def forward(self, ids):
            return self.head(self.block(self.embed(ids)))

    net = trace(meta(Model), torch.zeros(3, 10, dtype=torch.long))
    attention = 2 * 4 * 10 * 10 * 16
    linear = 10 * (64 * (64 + 16 + 16 + 64) + 3 * 64 * 96 + 64 * 50)
    assert net.macs == linear + attention
    assert training_ratio(net) == 3.0
    by_name = {layer.name: layer for layer in net.layers}
    assert by_name["block.q"].tie == by_name["block.k"].tie != ""
    assert by_name["embed"].kind == "embedding"


def test_frozen_layers_and_inputs_have_no_gradient():
    model = meta(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)))
    for parameter in model[:3].parameters():
        parameter.requires_grad_(False)
    net = trace(model, torch.empty(5, 8))
    assert [layer.passes for layer in net.mac_layers] == [("forward",), ("forward",), ("forward", "backward_weight")]
    assert [layer.frozen for layer in net.mac_layers] == [True, True, False]
    assert sum(layer.trained_parameters for layer in net.layers) == 18


def test_transposed_and_one_dimensional_convolutions():
    net = trace(
        meta(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ConvTranspose2d(8, 4, 2, 2))), torch.empty(1, 3, 17, 17)
    )
    first, second = net.mac_layers
    assert second.transposed
    assert second.macs == 8 * 8 * 8 * 4 * 4
    assert (second.input_elements, second.output_elements) == (8 * 64, 4 * 256)
    assert second.passes == ("forward", "backward_data", "backward_weight")
    (layer,) = trace(meta(lambda: nn.Conv1d(4, 6, 5, padding=2)), torch.empty(2, 4, 30)).mac_layers
    assert (layer.P, layer.Q, layer.R, layer.S) == (30, 1, 5, 1)
    assert first.passes == ("forward", "backward_weight")


def test_recurrent_weights_run_again_in_every_step():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(16, 8, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    net = trace(meta(Model), torch.empty(2, 5, 16))
    assert net.macs == 5 * 4 * 8 * (16 + 8 + 8 + 8)
    assert net.parameters == sum(p.numel() for p in Model().parameters())
    assert {layer.repeats for layer in net.mac_layers if layer.C == 8 and layer.repeats > 1} == {5}


def test_what_cannot_be_traced_is_said():
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        trace(3, torch.empty(1))
    with pytest.raises(InputError, match="does not run on meta tensors"):
        trace(nn.Linear(3, 4), torch.empty(2, 5))
    with pytest.raises(InputError, match="nothing in it multiplies"):
        trace(nn.ReLU(), torch.empty(2, 5))
    with pytest.raises(InputError, match="at least one tensor"):
        trace(nn.ReLU(), [])


@pytest.mark.parametrize(("make", "name"), [(ResNet50, "imagenet_resnet50"), (ViT, "imagenet_vit_b16")])
def test_exported_models_import_to_the_totals_of_the_zoo(make, name, tmp_path):
    pytest.importorskip("onnxscript")
    from dse.workload.from_onnx.network import import_onnx

    path = tmp_path / "model.onnx"
    model = make()
    for parameter in model.parameters():
        # Equal weights would be written once, and biases of zeros not at all.
        nn.init.normal_(parameter)
    torch.onnx.export(
        model.eval(), (torch.zeros(1, 3, 224, 224),), path, dynamo=True, external_data=False, verbose=False
    )
    net, shipped = import_onnx(path).network, load_workload(name)
    assert net.macs == shipped.macs
    # The exporter folds the scale and shift of batch norms into weights and a bias per channel.
    folded = sum(layer.G * layer.K for layer in shipped.layers if layer.kind == "norm")
    assert net.parameters == shipped.parameters - folded
    assert training_ratio(net) == pytest.approx(training_ratio(shipped), abs=1e-6)
    with_macs = [layer.dims for layer in shipped.mac_layers]
    assert sorted(layer.dims for layer in net.mac_layers) == sorted(with_macs)


def test_vit_is_traced_to_the_parameters_of_the_zoo():
    assert trace(meta(ViT), torch.empty(2, 3, 224, 224)).parameters == load_workload("imagenet_vit_b16").parameters
