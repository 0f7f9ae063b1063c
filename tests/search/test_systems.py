"""Every parallel plan under every plan of formats: the front is that of all, one by one; its files, its page, its errors."""

import csv
import json
import xml.etree.ElementTree as xml
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import dse
from dse.accuracy import load_law
from dse.cli import app
from dse.errors import InputError, NothingFeasible
from dse.report.system.svg import Axis, Bar, Line, line_chart, number, stacked_bars, time_bars
from dse.search.target_loss import parameters_of
from dse.search.target_loss.systems import SHORT, explore_systems
from dse.system.evaluate import system_rows
from dse.system.plans.search import enumerate_plans, fitting_steps

NETWORK = """
source: made up
batch: 1
samples: 64
epochs: 1
optimizer: adam
input: {tokens: 64}
blocks:
  layer:
    layers:
      - op: residual
        name: add_1
        main:
          - {op: rmsnorm, name: norm_1}
          - {op: attention, name: attn, causal: true, heads: 4}
      - op: residual
        name: add_2
        main:
          - {op: rmsnorm, name: norm_2}
          - op: moe
            name: moe
            experts: 4
            active: 2
            main:
              - {op: linear, name: up, K: 256, then: [gelu]}
              - {op: linear, name: down, K: 64}
layers:
  - {op: embedding, name: table, rows: 512, K: 64}
  - {op: block, of: layer, name: 'h.{i}', count: 4}
  - {op: rmsnorm, name: norm}
  - {op: linear, name: head, K: 512}
  - {op: loss, name: loss}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("mixture") / "mixture.yaml"
    place.write_text(NETWORK)
    return place


@pytest.fixture(scope="module")
def net(path):
    return dse.load_workload(path)


def test_the_front_is_that_of_all_plans_one_by_one(net):
    found = explore_systems(net, "dgx_h100", [2, 4], ["bf16", "fp8"], samples=8, objectives=["time", "memory", "devices"])
    points = []
    for name in ("bf16", "fp8"):
        rows = system_rows(net, dse.Plan.parse(SHORT.get(name, name), net), dse.load_system("dgx_h100"))
        for count in (2, 4):
            kept, steps = fitting_steps(enumerate_plans(rows, count), 8)
            for accumulate in set(steps):
                plans = [plan for plan, step in zip(kept, steps, strict=True) if step == accumulate]
                total = dse.evaluate(net, None, SHORT.get(name, name), system="dgx_h100", parallel=plans, accumulate=accumulate).total
                points += list(zip(total["latency_s"], total["peak_memory_bits"], total["devices"], strict=True))
    assert found.certificate["shared"] == len(points) > 500
    best = {p for p in points if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)}
    ours = list(zip(found.front["latency_s"], found.front["peak_memory_bits"], found.front["devices"], strict=True))
    assert set(ours) == best
    assert len(ours) == len(set(ours))
    assert found.fastest["latency_s"].min() == min(p[0] for p in points)
    assert list(found.fastest["plan"]) == ["bf16", "bf16", "fp8", "fp8"]


def test_to_a_loss_time_and_energy_are_steps_times_a_step(net):
    law, size = load_law(), parameters_of(net)
    loss = float(law.loss(size, 200 * size))
    found = explore_systems(net, "gb200_nvl72", [2], ["bf16", "nvfp4"], samples=8, target_loss=loss, objectives=["time", "energy"])
    wide, narrow = found.fastest.to_dict("records")
    assert wide["tokens"] == pytest.approx(200 * size)
    assert float(law.loss(size, narrow["tokens"], "nvfp4_nvidia")) == pytest.approx(loss)
    assert narrow["to_loss_s"] == pytest.approx(narrow["tokens"] / (8 * 64) * narrow["latency_s"])
    assert narrow["to_loss_j"] == pytest.approx(narrow["tokens"] / (8 * 64) * narrow["energy_j"])
    assert narrow["to_loss_low_s"] < narrow["to_loss_s"] < narrow["to_loss_high_s"]
    assert wide["to_loss_low_s"] == wide["to_loss_s"]
    assert any("measured are" in note for note in found.notes)


def test_what_does_not_fit_is_told_with_its_shortfall(net):
    system = dse.load_system("dgx_h100")
    tiny = replace(system, device=replace(system.device, memory_bytes=1e5))
    with pytest.raises(NothingFeasible, match=r"bf16 on 2 devices: memory: .* GB are missing"):
        explore_systems(net, tiny, [2], ["bf16"], samples=4)
    with pytest.raises(NothingFeasible, match="never reaches"):
        explore_systems(net, system, [2], ["bf16"], samples=4, target_loss=0.1)
    some = explore_systems(net, replace(system, device=replace(system.device, memory_bytes=4e6)), [1, 8], ["bf16"], samples=8)
    assert "are missing" in some.fastest["limit"][0]
    assert some.front["devices"].tolist().count(1) == 0


def run(*words):
    return CliRunner().invoke(app, list(words))


def test_the_command_writes_a_folder_and_names_what_is_wrong(path, tmp_path):
    out = tmp_path / "out"
    common = ["explore", str(path), "--system", "dgx_h100"]
    done = run(*common, "--devices", "2,4", "--plans", "bf16,fp8,w8a8e8,stash=int4", "--communication", "gradients=int8", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "none of them is better than the front" in done.output.replace("\n", " ")
    info = json.loads((out / "run.json").read_text())
    assert info["certificate"]["plans"] == ["bf16", "fp8", "w8a8e8,stash=int4"]
    assert info["certificate"]["front"] == len(list(csv.DictReader((out / "front.csv").read_text().splitlines())))
    page = (out / "report.html").read_text()
    assert all(title in page for title in ("Memory by part", "Communication by kind", "One step, pass by pass", "What is proven"))
    for drawing in out.glob("*.svg"):
        assert xml.parse(drawing).getroot().tag.endswith("svg")
    assert run(*common, "--out", str(out)).exception.problems[0].message.endswith("give a new folder")
    wrong = {
        "--devices 0": "1,000,000", "--devices a": "integers", "--plans nvfp5": "no number format", "--objectives speed": "objective of systems",
        "--samples 0": "--samples", "--trials 3": "does not go with --trials", "--communication grads=int8": "did you mean 'gradients'",
        "--target-loss -1": "above 0",
    }  # fmt: skip
    for words, says in wrong.items():
        with pytest.raises(InputError, match=says):
            raise run(*common, *words.split()).exception
    with pytest.raises(InputError, match="go with --system"):
        raise run("explore", str(path), "--devices", "8").exception


def test_charts_are_xml_and_say_what_they_show():
    lines = [Line("a <b>", [1, 10, 100], [1.0, float("nan"), 3.0], [0.5, 1.0, 2.0], [2.0, 2.0, float("inf")], color=1)]
    chart = xml.fromstring(line_chart(lines, Axis("x", True), Axis("y & z", True), "head"))
    words = [item.text for item in chart.iter() if item.text]
    assert {"a <b>", "y & z", "head", "100"} <= set(words)
    assert sum(item.tag.endswith("rect") for item in chart.iter()) == 1 + 2 + 1  # ground, two points that are numbers, legend
    bars = xml.fromstring(stacked_bars({"one": {"p": 1.0, "q": 3.0, "none": 0.0}}, Axis("GB")))
    wide = [float(item.get("width")) for item in bars.iter() if item.get("height") == "18"]
    assert wide[1] == pytest.approx(3 * wide[0], rel=1e-3)
    over = xml.fromstring(time_bars([Bar(0, 0.0, 1.0, "forward"), Bar(1, 1.0, 3.0, "backward")], ["stage 0", "stage 1"], Axis("s")))
    wide = [float(item.get("width")) for item in over.iter() if item.get("height") == "18"]
    assert wide[1] == pytest.approx(2 * wide[0], rel=1e-3)
    assert number(4096) == "4,096"
