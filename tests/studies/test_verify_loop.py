"""Predict, pick, train, calibrate, again: the loop of `dse verify` and `dse calibrate` ends where predictions hold."""

import numpy as np

import dse
from dse.accuracy.calibrate import calibrate, read_points
from dse.accuracy.profiles.schema import profile_text
from dse.studies.verify import BASELINE, POINTS, verify

NETWORK = """
source: made up
batch: 16
samples: 10000
epochs: 2
optimizer: sgd
input: {C: 3, H: 16, W: 16}
layers:
  - {op: conv, name: a, K: 16, R: 3, pad: 1, then: [relu]}
  - {op: conv, name: b, K: 32, R: 3, stride: 2, pad: 1, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: c, K: 10}
  - {op: loss, name: loss}
"""
#: Layer c does twelve times the damage that its own score says, layer a half as much again.
PROFILE = """
network: tiny
source: made up
method: by hand
score: by hand
prediction: {quantity: top1, baseline: 90.0, baseline_name: FP32, calibration: quantization-aware, link: linear}
layers:
  a: {both: {4: 1.0, 6: 0.05, 8: 0.003}}
  b: {both: {4: 1.0, 6: 0.05, 8: 0.003}}
  c: {both: {4: 0.25, 6: 0.0125, 8: 0.0008}}
points:
  - {name: w8, value: 89.99, both: 8}
  - {name: w6, value: 89.7, both: 6}
  - {name: w4, value: 84.5, both: 4}
"""
SCRIPT = """
HURT = {"a": 1.5, "b": 1.0, "c": 3.0}

def run(plan):
    if plan is None:
        return 90.0
    bits = dict(zip(plan.layers, plan.widths("weight"), strict=True))
    return 90.0 - sum(hurt * 4.0 ** (4 - bits[name]) for name, hurt in HURT.items())
"""


def test_predictions_of_what_is_found_converge(tmp_path):
    (tmp_path / "tiny.yaml").write_text(NETWORK)
    (tmp_path / "train.py").write_text(SCRIPT)
    path = tmp_path / "profile0.yaml"
    path.write_text(PROFILE)
    misses, kept = [], []
    for number in range(3):
        out = tmp_path / f"run{number}"
        dse.explore(
            tmp_path / "tiny.yaml", "flex_trainer", profile=path, mode="inference", max_accuracy_drop=2.0, confidence=0.5, trials=1,
            widths=(4, 6, 8), objectives=("energy", "accuracy"), seed=0, out=out,
        )  # fmt: skip
        rows = [row for row in verify(out, ["front"], f"{tmp_path / 'train.py'}:run") if row.design != BASELINE]
        misses.append(float(np.mean([abs(row.error) for row in rows])))
        kept.append(float(np.mean([row.kept for row in rows])))
        points = [
            point.model_copy(update={"name": f"{number} {point.name}"})
            for point in read_points(out / POINTS, path, dse.load_workload(tmp_path / "tiny.yaml"))
        ]
        path = tmp_path / f"profile{number + 1}.yaml"
        path.write_text(profile_text(calibrate(tmp_path / f"profile{number}.yaml", points).file))
    assert misses[0] > 1.0
    assert misses[0] > 10 * misses[1] > 10 * misses[2]
    assert (kept[0], kept[-1]) == (0.0, 1.0)
