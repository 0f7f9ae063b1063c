"""The campaign of ``benchmarks/hostile.py`` in small: damaged files of every kind are read, or refused by an InputError."""

import importlib.util
import os
import random
import shutil
import signal
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

import dse
import dse.report.compare
import dse.report.run.data
from dse import report
from dse.accuracy import load_profile
from dse.accuracy.calibrate import read_points
from dse.accuracy.measuring.data import load_data, read_array
from dse.accuracy.measuring.onnx_model import open_onnx
from dse.errors import InputError
from dse.export.design import load_design
from dse.mapping.explicit.text import load_mapping
from dse.precision.schedules.trace_file import read_trace
from dse.report import report_file
from dse.search.bits.schedule_space import load_schedules
from dse.workload.from_onnx.network import import_onnx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
#: Damaged files of each kind, and files of another kind in their place.
EACH, OTHERS = 12, 3


def module(name):
    """A module of the benchmarks, which are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Sound files of every kind."""
    folder = tmp_path_factory.mktemp("bases")
    made = module("hostile_bases")
    texts = {"net.yaml": made.WORKLOAD, "tokens.yaml": made.TOKENS, "nests.yaml": made.NESTS, "profile.yaml": made.PROFILE, "space.yaml": made.SPACE,
             "points.csv": made.POINTS, "points.yaml": made.POINTS_YAML, "trace.csv": made.TRACE, "hardware.yaml": made._hardware(),
             "mapping.yaml": "first: dram[WAO] - K16 C8 P8 - buffer[WAO] - Q8 R3 S3\n"}  # fmt: skip
    for name, text in (texts | {f"schedule{k}.yaml": text for k, text in enumerate(made.SCHEDULES)}).items():
        (folder / name).write_text(text)
    dse.Plan.parse("w8a8e8", dse.load_workload(folder / "net.yaml")).save(folder / "plan.yaml")
    made._data(folder)
    return folder


@pytest.fixture(scope="module")
def network(bases):
    return dse.load_workload(bases / "net.yaml")


def readers(bases, network):
    """Who reads a file of each kind."""
    schedules = {f"schedule{k}.yaml": lambda path: dse.Schedule.load(path) for k in range(7)}
    return schedules | {
        "net.yaml": dse.load_workload, "tokens.yaml": dse.load_workload, "nests.yaml": dse.load_workload, "hardware.yaml": dse.load_hardware,
        "profile.yaml": lambda path: load_profile(path, network), "plan.yaml": lambda path: dse.Plan.load(path, network), "space.yaml": load_schedules,
        "points.csv": lambda path: read_points(path, bases / "profile.yaml"), "points.yaml": lambda path: read_points(path, bases / "profile.yaml"),
        "trace.csv": read_trace, "mapping.yaml": load_mapping, "model.onnx": import_onnx, "data.npz": load_data, "images.npy": load_data, "labels.npy": read_array,
        "design.yaml": load_design,
    }  # fmt: skip


@pytest.fixture
def bounded():
    """Whatever a file holds, reading it ends."""

    def late(*_):
        raise TimeoutError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(read, *arguments):
    """What was said of an input that is refused; "" where it is read."""
    try:
        read(*arguments)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", [
    "net.yaml", "tokens.yaml", "nests.yaml", "hardware.yaml", "profile.yaml", "plan.yaml", "space.yaml", "points.csv", "points.yaml", "trace.csv", "mapping.yaml",
    "model.onnx", "data.npz", "images.npy", "labels.npy", *(f"schedule{k}.yaml" for k in range(7)),
])  # fmt: skip
def test_a_damaged_file_is_read_or_refused(bases, network, tmp_path, name):
    read = readers(bases, network)[name]
    read(bases / name)
    path = tmp_path / name
    draw = random.Random(name)
    contents = [module("hostile_inputs").damaged((bases / name).read_bytes(), name, draw) for _ in range(EACH)]
    contents += [((bases / other).read_bytes(), other) for other in draw.sample(sorted(readers(bases, network).keys() - {"design.yaml"}), OTHERS)]
    for content, doing in contents:
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "Duplicate name")
            said = refused(read, path)
        assert not said or all(line.isprintable() for line in said.splitlines()), doing
        assert len(said) < 40_000, doing


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ["run.json", "front.csv", "designs.csv", "bits.csv", "area.csv", "memory.csv"])
def test_a_damaged_run_folder_is_shown_or_refused(tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("report.html", "figures", "layers.csv"))
    whole = (folder / name).read_bytes()
    draw = random.Random(name)
    for _ in range(EACH // 2):
        content, doing = module("hostile_inputs").damaged(whole, name, draw)
        (folder / name).write_bytes(content)
        assert len(refused(report_file, folder)) < 40_000, doing


@pytest.mark.usefixtures("bounded")
def test_damaged_draws_are_compared_or_refused(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("report.html", "figures", "layers.csv"))
    front = pd.read_csv(EXAMPLE / "front.csv")
    draws = pd.concat([front[["design", "latency_s", "energy_j"]].assign(draw=draw) for draw in range(3)])
    whole = draws.to_csv(index=False).encode()
    draw = random.Random(11)
    contents = [whole, b"", b"design\n", b"design,draw\nnobody,0\n", b"design,draw\n1,x\n"]
    contents += [module("hostile_inputs").damaged(whole, "draws.csv", draw)[0] for _ in range(EACH)]
    runs = (report.run.data.read_run(folder),) * 2
    for content in contents:
        (folder / "draws.csv").write_bytes(content)
        assert len(refused(report.compare.better_in_draws, runs, ["latency_s", "energy_j"])) < 40_000
    (folder / "draws.csv").unlink()
    os.mkfifo(folder / "draws.csv")
    assert "is a pipe" in refused(report.compare.better_in_draws, runs, ["latency_s", "energy_j"])


@pytest.mark.usefixtures("bounded")
def test_a_damaged_model_is_measured_or_refused(bases, tmp_path):
    draw = random.Random(7)
    for _ in range(EACH):
        content, doing = module("hostile_inputs").damaged((bases / "model.onnx").read_bytes(), "model.onnx", draw)
        (tmp_path / "model.onnx").write_bytes(content)
        assert len(refused(open_onnx, tmp_path / "model.onnx")) < 40_000, doing


BLOCKS = "source: x\nbatch: 4\nsamples: 8\nepochs: 1\noptimizer: sgd\ninput: {C: 8, H: 8, W: 8}\nblocks:\n"
CONV = "  u0: {layers: [{op: conv, name: a, K: 8, R: 1}]}\n"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{BLOCKS}{CONV}layers:\n  - {{op: block, of: u0, name: 's{{i}}', count: 2000000000}}\n", "unrolls to more than"),
        (BLOCKS + CONV + "".join(f"  u{k}: {{layers: [{{op: block, of: u{k - 1}, name: 's{{i}}', count: 30}}]}}\n" for k in range(1, 9)) + "layers:\n  - {op: block, of: u8, name: t}\n", "unrolls to more than"),
        (BLOCKS + CONV + "".join(f"  u{k}: {{layers: [{{op: block, of: u{k - 1}, name: s}}, {{op: block, of: u{k - 1}, name: t}}]}}\n" for k in range(1, 40)) + "layers:\n  - {op: block, of: u39, name: t}\n", "unrolls to more than"),
        (BLOCKS + "".join(f"  u{k}: {{layers: [{{op: block, of: u{(k + 1) % 3000}, name: s}}]}}\n" for k in range(3000)) + "layers:\n  - {op: block, of: u1, name: t}\n", "in a circle: u0 -> u1 -> u2"),
    ],
)  # fmt: skip
def test_blocks_that_nobody_could_build_are_refused_before_they_are_built(tmp_path, text, why):
    (tmp_path / "net.yaml").write_text(text)
    with pytest.raises(InputError, match=why):
        dse.load_workload(tmp_path / "net.yaml")


def test_names_that_are_markup_or_formulas_come_back_from_tables(tmp_path):
    from dse.report.run.data import read_run
    from dse.search.outcome.run_folder import write_table

    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("report.html", "figures", "layers.csv"))
    run = read_run(folder)
    area = run.area.assign(part="=cmd|'/c calc'!A1")
    write_table(folder / "area.csv", area)
    assert ",'=cmd" in (folder / "area.csv").read_text()
    assert read_run(folder).area.equals(area)
    write_table(folder / "front.csv", run.front)
    assert read_run(folder).front.equals(run.front)
