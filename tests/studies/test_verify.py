"""Found designs measured for real: by a script that trains them, and rounded in an ONNX model."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.accuracy.measuring.onnx_model import open_onnx
from dse.accuracy.measuring.profile_model import calibrate_points
from dse.accuracy.profiles.loading import read_profile
from dse.errors import InputError
from dse.export.design import Design, load_design
from dse.precision import Plan
from dse.studies.verify import BASELINE, POINTS, check, check_onnx, read_verified, verify
from dse.workload import load_workload

RUN = Path(__file__).parents[2] / "reports" / "example"
SCRIPT = """
seen = open(__file__.replace("train.py", "seen.txt"), "a")

def run(plan):
    seen.write(f"{plan}\\n")
    seen.flush()
    return 71.5 if plan is None else 71.5 - 4.0 / float(plan.widths("weight").mean())

def nothing(plan):
    return None

def fails(plan):
    raise ValueError("no data")
"""


@pytest.fixture
def run(tmp_path):
    for name in ("run.json", "front.csv", "hardware.yaml", "bits.csv"):
        shutil.copy(RUN / name, tmp_path / name)
    shutil.copytree(RUN / "plans", tmp_path / "plans")
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def test_predicted_against_measured_is_written_and_not_measured_twice(run):
    first, second = verify(run, ["d00"], f"{run / 'train.py'}:run")
    design = load_design(f"{run}:d00")
    drop = 4.0 / float(design.plan.widths("weight").mean())
    assert (first.design, first.value, first.measured_drop) == (BASELINE, 71.5, 0.0)
    assert second.measured_drop == pytest.approx(drop)
    assert second.error == pytest.approx(design.figures["accuracy_drop_pp"] - drop)
    assert second.kept == (drop <= 1.0)
    again = verify(run, ["knee", "d00"], f"{run / 'train.py'}:run")
    assert again[0] == first
    assert again[2] == second
    assert {row.design: row for row in again} == {row.design: row for row in read_verified(run)}
    names = {row.design for row in again} - {BASELINE}
    assert len((run / "seen.txt").read_text().splitlines()) == 1 + len(names)
    with (run / POINTS).open() as table:
        points = list(csv.DictReader(table))
    assert {point["name"] for point in points} == names
    assert all((run / point["plan"]).is_file() for point in points)


@pytest.mark.parametrize(
    ("design", "function", "message"),
    [
        ("d00", "nothing", "returned None; expected what it measured"),
        ("d00", "fails", "fails: ValueError: no data"),
        ("d00", "rum", "did you mean 'run'"),
        ("d0x", "run", "no such design"),
    ],
)
def test_what_cannot_be_verified_is_said_and_nothing_is_written(run, design, function, message):
    with pytest.raises(InputError) as caught:
        verify(run, [design], f"{run / 'train.py'}:{function}")
    assert message in str(caught.value)
    assert read_verified(run) == ()


def test_the_commands_print_and_feed_calibrate(run, dse_here):
    said = dse_here("verify", run, "d00", "--script", f"{run / 'train.py'}:run", cwd=run)
    front = pd.read_csv(run / "front.csv").set_index("design")
    assert f"d00: predicted {front.loc['d00', 'accuracy_drop_pp']:.3g}, measured" in said.stdout
    assert POINTS in said.stdout
    found = calibrate_points("imagenet_resnet", run / POINTS, run / "calibrated.yaml", workload="imagenet_resnet")
    before, _ = read_profile("imagenet_resnet")
    assert [point.name for point in found.file.points] == [*(point.name for point in before.points), "d00"]


NET = """source: made up
batch: 4
samples: 64
epochs: 1
optimizer: sgd
input: {C: 3, H: 12, W: 12}
layers:
  - {op: conv, name: conv1, K: 8, R: 3, pad: 1}
  - {op: conv, name: conv2, K: 12, R: 3, pad: 1}
  - {op: global_pool, name: pool}
  - {op: fc, name: fc, K: 6, bias: false}
  - {op: loss, name: loss}
"""


@pytest.fixture(scope="module")
def model_bytes():
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    random = np.random.default_rng(0)
    tensors = {"conv1.weight": (8, 3, 3, 3), "conv2.weight": (12, 8, 3, 3), "fc.weight": (6, 12)}
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight"], ["a"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "conv2.weight"], ["c"], name="conv2", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "fc.weight"], ["y"], name="fc", transB=1),
    ]
    values = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32) / 3, name) for name, shape in tensors.items()
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in (("x", ("N", 3, 12, 12)), ("y", ("N", 6)))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.yaml"
    path.write_text(NET)
    return load_workload(path)


def made(network, plan):
    return Design("d", network, plan, "inference", None, {}, {"accuracy_drop_pp": 0.5})


def test_a_design_is_rounded_in_the_model(model_bytes, network, tmp_path):
    model_file = tmp_path / "own.onnx"
    model_file.write_bytes(model_bytes)
    model = open_onnx(model_file)
    images = np.random.default_rng(1).normal(size=(24, 3, 12, 12)).astype(np.float32)
    labels = model.outputs(images, {}, {}, {}).argmax(axis=1)
    lost = [check(made(network, Plan.from_bits(network, weight=bits)), model, images, labels) for bits in (2, 8)]
    assert [found.quantity for found in lost] == ["top1", "top1"]
    assert lost[0].baseline == 100.0
    assert lost[0].drop > lost[1].drop >= 0.0
    divergence = check(made(network, Plan.from_bits(network, weight=2)), model, images, None)
    assert (divergence.quantity, divergence.predicted_drop) == ("kl", 0.5)
    assert divergence.value > 0.0
    model_file, data = tmp_path / "net.onnx", tmp_path / "data.npz"
    model_file.write_bytes(model_bytes)
    np.savez(data, images=images, labels=labels)
    assert check_onnx(made(network, Plan.from_bits(network, weight=2)), model_file, data) == lost[0]
    assert check(made(network, Plan.uniform(network, "fp32", "bf16")), model, images, None).value == 0.0
    with pytest.raises(InputError, match="rounds to integers"):
        check(made(network, Plan.uniform(network, "nvfp4", "int8")), model, images, None)
