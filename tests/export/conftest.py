"""Runs whose designs are exported: one of the main job, and a small one of every kind that ``dse explore`` makes."""

import re
import shutil
from pathlib import Path

import pytest

import dse
from dse.shipped import shipped_folder

SMALL = Path(__file__).parents[1] / "data" / "small"
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
    files = [place / "tiny.yaml", place / "other.yaml"]
    for path in files:
        shutil.copy(SMALL / "tiny.yaml", path)
    # It has few mappings, which are soon found; two clocks are a space.
    text = (shipped_folder("hwmodels") / "tpu_like.yaml").read_text()
    hardware = place / "hardware.yaml"
    hardware.write_text(re.sub(r"(?m)^clock_hz: \S+", "clock_hz: {values: [100_000_000, 200_000_000], default: 200_000_000}", text))
    folders = {}
    for kind, options in KINDS.items():
        given = {**options, **({"profile": SMALL / "profile.yaml"} if options.get("profile") else {})}
        networks = files[: given.pop("networks", 1)]
        folders[kind] = place / kind.replace(" ", "_")
        dse.explore(networks, hardware, trials=2, seed=0, max_accuracy_drop=3.0 if "profile" in given else None, out=folders[kind], **given)
    return folders
