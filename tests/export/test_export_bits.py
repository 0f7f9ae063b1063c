"""Bit configurations say of every layer what the plan says, in the words of the tool that reads them."""

import json

import pytest

import dse
from dse.errors import InputError
from dse.export import export_design, load_design
from dse.export.bits import brevitas_text, hawq_text, json_text, onnx_model
from dse.export.design import Design


def design_of(network, plan, mode="training"):
    hardware = dse.load_hardware("flex_trainer")
    return Design("d0", network, plan, mode, hardware, {}, {})


@pytest.fixture(scope="module")
def resnet():
    return dse.load_workload("imagenet_resnet")


def test_json_holds_every_layer_with_macs(run_folder, resnet):
    design = load_design(f"{run_folder}:knee")
    found = json.loads(next(iter(export_design(run_folder, "knee", "json").values())))
    assert list(found["layers"]) == [layer.name for layer in resnet.mac_layers]
    widths = dict(zip(design.plan.layers, design.plan.widths("weight").tolist(), strict=True))
    assert {name: entry["weight"]["bits"] for name, entry in found["layers"].items()} == {
        name: widths[name] for name in found["layers"]
    }
    assert found["hardware"]["array.rows"] == design.values["array.rows"]


def test_hawq_has_the_modules_of_its_own_files(resnet):
    weight = {layer.name: 4 for layer in resnet.mac_layers} | {"conv1": 8, "fc": 8, "layer2.0.downsample.0": 3}
    activation = {layer.name: 5 for layer in resnet.mac_layers} | {"conv1": 8, "fc": 7}
    found = json.loads(hawq_text(design_of(resnet, dse.Plan.from_bits(resnet, weight=weight, activation=activation))))
    # The modules of bit_config_resnet18_uniform8 in HAWQ's bit_config.py (commit 1616df6).
    modules = ["quant_input", "quant_init_block_convbn", "quant_act_int32"]
    for stage in (1, 2, 3, 4):
        for unit in (1, 2):
            names = ["quant_act", "quant_convbn1", "quant_act1", "quant_convbn2"]
            names += ["quant_identity_convbn"] * (unit == 1 and stage > 1) + ["quant_act_int32"]
            modules += [f"stage{stage}.unit{unit}.{name}" for name in names]
    assert list(found) == [*modules, "quant_act_output", "quant_output"]
    assert found["quant_act_output"] == 7
    assert found["stage2.unit1.quant_identity_convbn"] == 3
    assert found["stage3.unit2.quant_act1"] == 5
    assert found["stage3.unit2.quant_convbn2"] == 4


def test_hawq_names_of_bottlenecks():
    net = dse.load_workload("imagenet_resnet50")
    found = json.loads(hawq_text(design_of(net, dse.Plan.from_bits(net, weight=4))))
    assert found["quant_init_convbn"] == 4
    assert found["stage4.unit3.quant_convbn3"] == found["stage4.unit3.quant_act2"] == 4
    assert len(found) == 3 + 16 * 7 + 4 + 2


def test_networks_without_hawq_names_keep_their_own():
    net = dse.load_workload("imagenet_mobilenet_v2")
    found = json.loads(hawq_text(design_of(net, dse.Plan.from_bits(net, weight=4, activation=6))))
    first = net.mac_layers[0].name
    assert found[f"{first}.quant_weight"] == 4
    assert found[f"{first}.quant_act"] == 6


@pytest.mark.parametrize(
    ("name", "quantizer", "settings"),
    [
        ("int4", "scaled_int.Int8WeightPerTensorFloat", {"weight_bit_width": 4}),
        ("int4:channel", "scaled_int.Int8WeightPerChannelFloat", {"weight_bit_width": 4}),
        ("fp8_e5m2", "float.Fp8e4m3WeightPerTensorFloat",
         {"weight_bit_width": 8, "weight_exponent_bit_width": 5, "weight_mantissa_bit_width": 2}),
        ("mxint8", "mx_quant_ocp.MXInt8Weight", {"weight_bit_width": 8, "weight_group_size": 32}),
    ],
)  # fmt: skip
def test_brevitas_quantizers(resnet, name, quantizer, settings):
    plan = dse.Plan.uniform(resnet, weight=name, activation="int8", error="int8")
    entry = json.loads(brevitas_text(design_of(resnet, plan)))["fc"]
    assert entry["weight_quant"] == f"brevitas.quant.{quantizer}"
    assert settings.items() <= entry.items()
    assert entry["input_bit_width"] == 8
    assert entry["error"] == "int8"


def test_formats_that_brevitas_lacks_are_all_named(resnet):
    plan = dse.Plan.uniform(resnet, weight="bfp4", activation="bfp4", error="bfp4")
    with pytest.raises(InputError, match=r"(?s)42 problems.*conv1: Brevitas has no quantizer for weight in bfp4"):
        brevitas_text(design_of(resnet, plan))


def test_inference_has_no_errors(resnet):
    found = json.loads(json_text(design_of(resnet, dse.Plan.from_bits(resnet, weight=4), "inference")))
    assert set(found["layers"]["fc"]) == {"weight", "activation"}


def test_an_onnx_model_carries_the_map(run_folder, tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="/layer1/layer1.0/conv1/Conv"),
             helper.make_node("Gemm", ["y", "v"], ["z"], name="fc"), helper.make_node("Relu", ["z"], ["u"], name="relu")]  # fmt: skip
    tensors = [helper.make_tensor_value_info(name, kind, None) for name in "xwvu"]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", tensors[:3], tensors[3:])), path)
    design = load_design(f"{run_folder}:knee")
    changed = onnx.load_from_string(onnx_model(design, path))
    cells = dict(zip(design.plan.layers, map(str, design.plan.cells("weight")), strict=True))
    of_nodes = [{x.key: x.value for x in node.metadata_props} for node in changed.graph.node]
    assert of_nodes[0]["dse.weight"] == cells["layer1.0.conv1"]
    assert of_nodes[1]["dse.weight"] == cells["fc"]
    assert of_nodes[2] == {}
    assert {x.key: x.value for x in changed.metadata_props}["dse.layer4.1.conv2.weight"] == cells["layer4.1.conv2"]
    (tmp_path / "not.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be read as an ONNX model"):
        onnx_model(design, tmp_path / "not.onnx")
    for node in changed.graph.node:
        node.name = "other"
    onnx.save(changed, path)
    with pytest.raises(InputError, match="no node has the name of a layer"):
        onnx_model(design, path)
