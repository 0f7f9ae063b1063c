"""Sound files of every kind that ``dse`` reads, small enough for thousands of runs: what :mod:`hostile` damages."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import yaml

WORKLOAD = """source: made up
batch: 4
samples: 8
epochs: 1
optimizer: momentum
input: {C: 8, H: 8, W: 8}
blocks:
  unit:
    parameters: [K]
    layers:
      - op: residual
        name: sum
        main: [{op: conv, name: a, K: K, R: 3, pad: 1, then: [norm, relu]}, {op: conv, name: b, K: K, R: 1}]
layers:
  - {op: conv, name: first, K: 16, R: 3, pad: 1, then: [norm, relu]}
  - {op: block, of: unit, name: 'stage{i}', arguments: {K: 16}, count: 2}
  - {op: conv, name: third, K: 16, R: 3, stride: 2, pad: 1, groups: 2, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10}
  - {op: loss, name: loss}
"""
TOKENS = """source: made up
batch: 2
samples: 8
epochs: 1
optimizer: adam
input: {tokens: 16}
layers:
  - {op: embedding, name: table, rows: 100, K: 32}
  - {op: layernorm, name: ln}
  - {op: attention, name: attn, heads: 4, head_dim: 8}
  - {op: moe, name: moe, experts: 4, active: 2, main: [{op: linear, name: up, K: 48}, {op: linear, name: down, K: 32}]}
  - {op: linear, name: head, K: 100, bias: true}
  - {op: loss, name: loss}
"""
NESTS = """source: made up
batch: 2
samples: 8
epochs: 1
optimizer: sgd
nests:
  - {name: first, kind: conv, K: 16, C: 8, P: 8, Q: 8, R: 3, S: 3}
  - {name: last, kind: fc, K: 10, C: 16}
"""
PROFILE = """network: net
source: made up
method: made up
score: made up
prediction:
  quantity: top1
  baseline: 70.0
  baseline_name: made up
  noise: 0.1
  noise_source: made up
  calibration: post-training
  link: saturating
kept: {last: 8}
ties:
  - [stage0.a, stage1.a]
layers:
  first: {both: {4: 0.4, 8: 0.002}}
  stage0.a: {both: {4: 0.2, 8: 0.001}}
  stage0.b: {both: {4: 0.2, 8: 0.001}}
  stage1.a: {both: {4: 0.2, 8: 0.001}}
  stage1.b: {both: {4: 0.2, 8: 0.001}}
  third: {both: {4: 0.1, 8: 0.0005}}
points:
  - {name: u8, value: 69.95, both: 8}
  - {name: u4, value: 67.0, both: 4}
  - {name: m, value: 69.0, both: [8, 8, 8, 4, 4, 8]}
  - {name: n, value: 68.4, both: [8, 4, 4, 4, 4, 4]}
error_tensor:
  source: made up
  note: made up
  baseline: 70.0
  baseline_name: made up
  widths: {8: 69.9, 6: 69.6}
"""
SCHEDULES = (
    "kind: static\nplan: w8a8e8\niterations: 10\n",
    "kind: cyclic\nlow: 3\nhigh: 8\ncycles: 4\niterations: 1000\nkeep: {last: int8}\n",
    "kind: better\nname: RTV\nlow: 3\nhigh: 8\niterations: 500\nbackward: fp8_e5m2\n",
    "kind: progressive\nswitches: [3, 6]\niterations: 10\n",
    "kind: progressive_from_losses\nlosses: [1.0, 1.0, 0.5, 0.5]\niterations_per_epoch: 3\n",
    "kind: piecewise\nparts: [{epochs: 2, plan: bfp4}, {epochs: 1, plan: bfp6}]\n",
    "kind: traced\ntrace: trace.csv\niterations: 50\n",
)
SPACE = "profiles: [CR, ER]\ndepths_bits: [0, 1, 2]\ncycles: [2, 4]\niterations: 640\nscore: mean\n"
POINTS = "name,value,both\na,69.0,8\nb,66.0,4\nc,68.0,8 4 8 4 8 4\nd,67.5,4 4 8 8 4 4\n"
POINTS_YAML = """points:
  - {name: a, value: 69.0, both: 8}
  - {name: b, value: 66.0, both: 4}
  - {name: c, value: 68.0, both: [8, 4, 8, 4, 8, 4]}
"""
TRACE = "batch_iteration,layer0,layer1,layer2\n0,8,8,8\n10,6,6,8\n20,4,6,8\n"


def make_bases(folder: Path) -> None:
    """Sound files of every kind, by the names that :func:`draw` uses; they take a few seconds."""
    import dse
    from dse.cost.mapped.explicit import save_best_mappings
    from dse.report import write_report

    texts = {
        "net.yaml": WORKLOAD,
        "tokens.yaml": TOKENS,
        "nests.yaml": NESTS,
        "profile.yaml": PROFILE,
        "space.yaml": SPACE,
        "points.csv": POINTS,
        "points.yaml": POINTS_YAML,
        "trace.csv": TRACE,
        "hardware.yaml": _hardware(),
    } | {f"schedule{k}.yaml": text for k, text in enumerate(SCHEDULES)}
    for name, text in texts.items():
        (folder / name).write_text(text)
    net = dse.load_workload(folder / "net.yaml")
    hardware = dse.load_hardware(folder / "hardware.yaml")
    plan = dse.Plan.parse("w8a8e8", net)
    plan.save(folder / "plan.yaml")
    save_best_mappings(net, hardware, plan, str(folder / "mapping.yaml"), "training")
    bare = yaml.safe_load(PROFILE)
    del bare["points"], bare["prediction"]["link"]
    (folder / "bare.yaml").write_text(yaml.safe_dump(bare))
    options = {"profile": folder / "profile.yaml", "trials": 2, "screening": True, "max_accuracy_drop": 2.5}
    for name, seed in (("run", 0), ("other", 1)):
        dse.explore(folder / "net.yaml", folder / "hardware.yaml", seed=seed, out=folder / name, **options)
        write_report(folder / name)
    from dse.export import export_design

    (folder / "design.yaml").write_text(next(iter(export_design(folder / "run", "knee", "design").values())))
    _data(folder)


def _hardware() -> str:
    """``fp8_trainer``'s neighbour with few designs: small enough for thousands of runs."""
    from dse.shipped import shipped_folder

    value = yaml.safe_load((shipped_folder("hwmodels") / "flex_trainer.yaml").read_text())
    value["array"]["axes"] = {
        key: {**axis, "size": {"values": [8, 16], "default": 16} if k == 0 else 8}
        for k, (key, axis) in enumerate(value["array"]["axes"].items())
    }
    value["name"] = "small"
    return yaml.safe_dump(value, sort_keys=False)


def _data(folder: Path) -> None:
    """An ONNX model with its weights, images, labels, idx and CIFAR files."""
    import onnx
    from onnx import TensorProto, helper

    random_ = np.random.default_rng(0)
    weights = {
        "w1": random_.normal(size=(4, 3, 3, 3)),
        "w2": random_.normal(size=(4, 4, 3, 3)),
        "w3": random_.normal(size=(4, 5)),
    }
    initializers = [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], "conv2", strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], "pool"),
        helper.make_node("Flatten", ["d"], ["e"], "flat"),
        helper.make_node("MatMul", ["e", "w3"], ["y"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    images, labels = random_.normal(size=(16, 3, 8, 8)).astype(np.float32), random_.integers(0, 5, 16)
    np.savez(folder / "data.npz", images=images, labels=labels)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    idx = folder / "idx"
    idx.mkdir()
    for name, array in (("train", 64), ("t10k", 16)):
        pictures, classes = (
            random_.integers(0, 256, (array, 8, 8)).astype(np.uint8),
            random_.integers(0, 5, array).astype(np.uint8),
        )
        (idx / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">HBBIII", 0, 8, 3, array, 8, 8) + pictures.tobytes()
        )
        (idx / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, array) + classes.tobytes())
