"""How a network's tensors lie in memory, by pass, and that every figure of a step counts them so."""

import numpy as np
import pytest

import dse
from dse.cost.jobs.network import network_jobs
from dse.cost.tensors.memory import held
from dse.cost.tensors.storage import input_matrix, output_matrix, second_matrix, storage_of, weight_matrix
from dse.names import PASSES
from dse.precision.formats import Matrix, parse_format, tensor_bits
from dse.shipped import shipped_names
from dse.workload.model import Layer, Network

NARROW = """
source: depthwise and narrow layers, whose reductions are no multiples of 32
batch: 2
samples: 2
epochs: 1
optimizer: sgd
input: {C: 40, H: 8, W: 8}
layers:
  - {op: conv, name: dw, K: 40, R: 3, pad: 1, groups: 40}
  - {op: conv, name: pw, K: 64, R: 1}
  - {op: conv, name: pw2, K: 8, R: 1}
  - {op: fc, name: fc, K: 10}
"""


@pytest.fixture
def narrow(tmp_path):
    path = tmp_path / "narrow.yaml"
    path.write_text(NARROW)
    return dse.load_workload(path)


def test_matrices_of_a_convolution():
    layer = Layer("a", "conv", G=2, K=6, C=5, P=4, Q=3, R=3, S=2, input_hw=(6, 4))
    assert weight_matrix(layer) == Matrix(1, 12, 30, 12, 6)
    assert weight_matrix(layer, "backward_data") == Matrix(1, 10, 36, 12, 6)
    assert input_matrix(layer, 7) == Matrix(2, 7 * 24, 5, 10, 24)
    assert input_matrix(layer, 7, "backward_weight") == Matrix(1, 10, 7 * 24, 10, 24)
    assert output_matrix(layer, 7) == Matrix(2, 7 * 12, 6, 12, 12)
    assert output_matrix(layer, 7, "backward_weight") == Matrix(1, 12, 7 * 12, 12, 12)


def test_matrices_of_depthwise_transposed_and_attention_layers():
    depthwise = Layer("a", "conv", G=8, P=4, Q=4, R=3, S=3, input_hw=(4, 4))
    assert input_matrix(depthwise, 2) == Matrix(2, 8, 16, 8, 16)  # its sums run over the plane
    # A transposed convolution from 4 channels of 3x3 to 6 channels of 7x7.
    transposed = Layer("a", "conv", K=4, C=6, P=3, Q=3, R=3, S=3, input_hw=(7, 7), stride=(2, 2), transposed=True)
    assert weight_matrix(transposed) == Matrix(1, 6, 36, 6, 9)
    assert input_matrix(transposed, 2) == Matrix(1, 18, 4, 4, 9)
    assert output_matrix(transposed, 2) == Matrix(1, 98, 6, 6, 49)
    scores = Layer("a", "matmul", N=10, G=3, K=12, C=16)
    assert input_matrix(scores, 2) == Matrix(6, 10, 16, 48)
    assert second_matrix(scores, 2) == Matrix(6, 12, 16, 48)
    assert second_matrix(scores, 2, "backward_data") == Matrix(6, 16, 12, 48)
    experts = Layer("a", "fc", G=2, K=6, C=5, experts=8)
    assert weight_matrix(experts) == Matrix(1, 48, 5, 48)


@pytest.mark.parametrize("name", [name for name in shipped_names("workloads") if not name.startswith(("llama", "mixtral"))])
def test_matrices_hold_every_element_in_every_pass(name):
    network = dse.load_workload(name)
    storage = storage_of(network)
    for pass_ in PASSES:
        for row, layer in enumerate(network.layers):
            if not layer.has_macs:
                continue
            weight, read, written, second = (
                storage.matrices[tensor, pass_][row].elements for tensor in ("weight", "input", "output", "second")
            )
            assert read == layer.input_elements * network.batch
            assert written == layer.output_elements * network.batch
            assert second == layer.second_elements * network.batch or layer.kind != "matmul"
            bias = layer.G * (layer.C if layer.transposed else layer.K) * layer.bias
            assert weight == layer.parameters - bias or layer.kind == "matmul" or layer.shared


@pytest.mark.parametrize("channels", [1, 3])
def test_a_layer_without_macs_at_the_end_writes_every_element(channels):
    """One channel is written as planes, several along their channels."""
    conv = Layer("a", "conv", K=channels, C=4, P=6, Q=5, R=3, S=3, input_hw=(6, 5))
    last = Layer("b", "activation", K=channels, P=6, Q=5, function="relu")
    network = Network("ends", "made up", (conv, last), batch=3, samples=3, epochs=1)
    written = storage_of(network).matrices["result", "forward"][1]
    assert written.elements == 3 * channels * 6 * 5
    assert written == (Matrix(3, 1, 30, 1, 30) if channels == 1 else Matrix(1, 90, 3, 3, 30))


def test_stored_bits_of_every_role_and_pass(narrow):
    plan = dse.Plan.parse("mxfp8_e4m3", narrow)
    work = network_jobs(narrow, dse.load_hardware("tpu_like"), [plan])
    rows = {layer.name: work.jobs.stored_bits[work.job[0, l, :, 0]] for l, layer in enumerate(narrow.mac_layers)}
    forward, backward_data, backward_weight = (0, 1, 2)
    assert rows["dw"][forward] == pytest.approx([8 + 8 / 9, 8.25, 8.4])  # its result is read along 40 channels
    assert rows["pw"][forward] == pytest.approx([8.4, 8.4, 8.25])
    assert rows["pw2"][forward] == pytest.approx([8.25, 8.25, 8.25])  # 512 values of a pixel-wise tensor are the fc's row
    assert rows["pw"][backward_data] == pytest.approx([8.25, 8.25, 8.4])  # weight and error along K = 64
    assert rows["pw2"][backward_data] == pytest.approx([9.0, 9.0, 8.25])  # along K = 8
    assert rows["pw"][backward_weight] == pytest.approx([8.25, 8.25, 32.0])  # along 2 x 64 positions
    assert rows["fc"][backward_weight] == pytest.approx([12.0, 12.0, 32.0])  # two samples share an exponent


def test_memory_and_traffic_count_the_scales_that_there_are(narrow):
    plan = dse.Plan.parse("mxfp8_e4m3", narrow)
    row = dse.evaluate(narrow, dse.load_hardware("mx_trainer"), plan).total.iloc[0]
    form = parse_format("mxfp8_e4m3")
    weights = sum(
        tensor_bits(form, Matrix(1, rows, columns)) for rows, columns in ((40, 9), (64, 40), (8, 64), (10, 512))
    )
    # backward_data reads all but the first along their output channels: 64, 8, 10 for each input channel.
    turned = sum(tensor_bits(form, Matrix(1, rows, columns)) for rows, columns in ((40, 64), (64, 8), (512, 10)))
    assert row["memory_weights_bits"] == weights + turned
    alone = dse.evaluate(narrow, dse.load_hardware("mx_trainer"), plan.with_copies("one")).total.iloc[0]
    assert alone["memory_weights_bits"] == weights
    assert weights / 8612 > 8.25
    # Stashed along the 128 positions of the batch, channel by channel: whole blocks, but for the fc's two samples.
    kept = sum(item.bits for item in held(narrow, plan, "training") if item.part == "stash")
    assert kept == pytest.approx(2 * (8.25 * (40 * 64 + 40 * 64 + 64 * 64) + 12 * 512))


def test_a_scale_per_channel_weighs_most_where_a_channel_is_small(narrow):
    hardware = dse.load_hardware("bit_fusion")
    plain, channel = (
        dse.evaluate(narrow, hardware, dse.Plan.parse(f"weight={name},activation=int8", narrow), mode="inference")
        for name in ("int8", "int8:channel")
    )
    more = (channel.total["memory_weights_bits"] - plain.total["memory_weights_bits"])[0]
    assert more == 32 * (40 + 64 + 8 + 10)
    traffic = channel.layers.set_index("layer")["dram_bits"] - plain.layers.set_index("layer")["dram_bits"]
    assert (traffic >= 32 * np.array([40, 64, 8, 10]) - 1e-6).all()


def test_the_largest_memory_is_priced_by_limits_as_by_evaluate(narrow):
    from dse.cost.steps.choices import uniform_plans

    int8 = parse_format("int8")
    from dse.search.bits.limits import limit_tables

    tables = limit_tables(
        narrow, dse.load_hardware("tpu_like"), uniform_plans(narrow, [(int8, int8, [int8])]), [(0,), (1,), (2,), (3,)], "inference"
    )
    row = dse.evaluate(
        narrow, dse.load_hardware("bit_fusion"), dse.Plan.parse("w8a8", narrow), mode="inference"
    ).total.iloc[0]
    assert tables["model_size"].sum() == row["memory_weights_bits"]
