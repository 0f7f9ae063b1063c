"""Runs whose designs are exported: one of the main job, and a small one of every kind that ``dse explore`` makes."""

import re

import pytest

import dse
from dse.shipped import shipped_folder

NETWORK = """
source: made up
batch: 8
samples: 8
epochs: 1
optimizer: momentum
input: {C: 8, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 16, R: 3, pad: 1, then: [norm, relu]}
  - {op: conv, name: second, K: 16, R: 1, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 10}
  - {op: loss, name: loss}
"""
PROFILE = """
network: tiny
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
layers:
  first: {both: {4: 0.4, 8: 0.002}}
  second: {both: {4: 0.1, 8: 0.0005}}
points:
  - {name: u8, value: 69.95, both: 8}
  - {name: u4, value: 67.0, both: 4}
  - {name: m, value: 69.0, both: [8, 4]}
  - {name: n, value: 68.4, both: [4, 8]}
error_tensor:
  source: made up
  note: made up
  baseline: 70.0
  baseline_name: made up
  widths: {8: 69.9, 6: 69.6}
"""
#: Options of ``dse.explore`` by kind of run; both modes, with and without a profile, over a schedule, for several networks.
KINDS = {
    "training under a plan": {"plan": "w8a8e8"},
    "inference under a plan": {"plan": "w4a8", "mode": "inference"},
    "training with a profile": {"profile": True},
    "training with a schedule": {"profile": True, "schedules": "cyclic"},
    "two networks": {"plan": "w8a8e8", "networks": 2},
}


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A small run of the main job."""
    folder = tmp_path_factory.mktemp("export") / "run"
    dse.explore("imagenet_resnet", "flex_trainer", trials=2, seed=0, out=folder)
    return folder


@pytest.fixture(scope="session")
def runs_of_every_kind(tmp_path_factory):
    """Run folders by kind."""
    place = tmp_path_factory.mktemp("kinds")
    (place / "profile.yaml").write_text(PROFILE)
    files = [place / "tiny.yaml", place / "other.yaml"]
    for path in files:
        path.write_text(NETWORK)
    # It has few mappings, which are soon found; two clocks are a space.
    text = (shipped_folder("hwmodels") / "tpu_like.yaml").read_text()
    hardware = place / "hardware.yaml"
    hardware.write_text(re.sub(r"(?m)^clock_hz: \S+", "clock_hz: {values: [100_000_000, 200_000_000], default: 200_000_000}", text))
    folders = {}
    for kind, options in KINDS.items():
        given = {**options, **({"profile": place / "profile.yaml"} if options.get("profile") else {})}
        networks = files[: given.pop("networks", 1)]
        folders[kind] = place / kind.replace(" ", "_")
        dse.explore(networks, hardware, trials=2, seed=0, max_accuracy_drop=3.0 if "profile" in given else None, out=folders[kind], **given)
    return folders
