"""Measured costs in place of hardware: by hand, against brute force, and what is missing by name."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import dse
from dse.accuracy import load_profile
from dse.cli import app
from dse.cost.lookup import plan_costs, read_lookup
from dse.errors import InputError
from dse.search.bits.asked.lookup import lookup_front

DATA = Path(__file__).parents[1] / "data"
NET = dse.load_workload(DATA / "small" / "tiny.yaml")
PROFILE = load_profile(DATA / "small" / "profile.yaml", NET)
#: Seconds and pJ of four layers at 4 and 8 bits and in the pair, made up.
COSTS = {"first": (3, 5, 4), "second": (1, 4, 2), "third": (2, 7, 3), "last": (9, 1, 9)}


def written(tmp_path, rows, header="layer,format,latency_s,energy_pj"):
    path = tmp_path / "table.csv"
    path.write_text("# made up\n" + header + "\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    rows = []
    for number, (layer, costs) in enumerate(COSTS.items()):
        for name, cost in zip(("int4", "int8", "w4a8"), costs, strict=True):
            rows.append(f"{layer},{name},{cost}e-3,{(cost * 7 + 3 * number) % 11 + 1}")
    return written(tmp_path, rows)


def test_a_plan_is_the_sum_of_its_entries(table):
    rows = plan_costs(read_lookup(table, NET), NET, dse.Plan.parse("w4a8e8", NET), "training")
    assert rows["latency_s"].sum() == pytest.approx(18e-3)
    assert list(rows["layer"]) == list(COSTS)
    assert set(rows["weight"]) == {"int4"}


def test_passes_and_errors_and_any(tmp_path):
    rows = ["first,forward,w4a8e8,1,", "first,backward_weight,w4a8,2,", "second,,any,10,", "third,,w4a8e4,7,", "third,,w4a8e8,20,", "last,,w4a8,30,"]
    path = written(tmp_path, rows, "layer,pass,format,latency_s,note")
    found = plan_costs(read_lookup(path, NET), NET, dse.Plan.parse("w4a8e8", NET), "training")
    assert list(found["latency_s"]) == [3, 10, 20, 30]
    with pytest.raises(InputError, match="third in weight int4, activation int8"):  # no entry without an error's format
        plan_costs(read_lookup(path, NET), NET, dse.Plan.parse("w4a8", NET), "inference")


def test_what_is_missing_is_named(table, tmp_path):
    with pytest.raises(InputError) as raised:
        plan_costs(read_lookup(table, NET), NET, dse.Plan.parse("w8a4e8", NET), "inference")
    assert [problem.message for problem in raised.value.problems] == [
        f"the table lacks {layer} in weight int8, activation int4" for layer in COSTS
    ]
    rows = ["fist,int8,1,1", "first,int99x,1,1", "first,int8,-1,1", "second,int8,1,1", "second,int8,2,1"]
    with pytest.raises(InputError) as raised:
        read_lookup(written(tmp_path, rows), NET)
    said = [problem.message for problem in raised.value.problems]
    assert "did you mean 'first'" in said[0]
    assert "no format or pair" in said[1]
    assert "number >= 0" in said[2]
    assert "twice" in said[3]
    assert [problem.line for problem in raised.value.problems] == [3, 4, 5, 7]
    with pytest.raises(InputError, match="neither latency_s nor energy_pj"):
        read_lookup(written(tmp_path, ["first,int8"], "layer,format"), NET)


@pytest.mark.parametrize("columns", [("latency_s",), ("energy_j",), ("latency_s", "energy_j")])
def test_the_front_is_that_of_every_bit_map(table, tmp_path, columns):
    whole = pd.read_csv(table, comment="#")
    kept = ["layer", "format", *(name for name in ("latency_s", "energy_pj") if name.replace("pj", "j") in columns)]
    path = tmp_path / "some.csv"
    whole[kept].to_csv(path, index=False)
    lookup = read_lookup(path, NET)
    found = lookup_front(NET, PROFILE, lookup, None, 2.0, 0.5)
    assert (found.front["certificate_gap"] == 0).all()
    every = []
    for first, third, last in itertools.product(("int4", "int8", "w4a8"), repeat=3):  # first and second are tied, last keeps 8 bits
        if last != "int8":
            continue
        plan = dse.Plan.from_formats(NET, formats_of({"first": first, "second": first, "third": third, "last": last}))
        costs = plan_costs(lookup, NET, plan, "inference")
        drop = PROFILE.predict_drop(plan, "inference")
        every.append((drop, *(costs[name].sum() for name in columns)))
    points = np.array([point for point in every if point[0] <= 2.0])
    best = {tuple(np.round(p, 12)) for p in points if not ((points <= p).all(1) & (points < p).any(1)).any()}
    ours = {tuple(np.round(row, 12)) for row in found.front[["accuracy_drop_pp", *columns]].to_numpy()}
    assert ours == best
    sums = plan_costs(lookup, NET, found.best, "inference")[columns[0]].sum()
    assert sums == pytest.approx(points[:, 1].min())


def formats_of(by_layer):
    pairs = {layer: ("int4", "int8") if name == "w4a8" else (name, name) for layer, name in by_layer.items()}
    both = ("weight", "activation")
    return {operand: {layer: pair[place] for layer, pair in pairs.items()} for place, operand in enumerate(both)} | {"error": "fp32"}


def test_hawq_latencies_of_a_t4_stand_for_hardware(tmp_path):
    """Latencies of ResNet-18 by HAWQ-V3, whose first and last layer stay at 8 bits and were not measured apart."""
    lines = [line for line in (DATA / "hawq_resnet18.csv").read_text().splitlines() if not line.startswith("#")]
    rows = [f"{row['layer']},int{bits},{float(row[f'latency_ms_{bits}']) * 1e-3}" for row in csv.DictReader(lines) for bits in (4, 8)]
    path = written(tmp_path, [*rows, "conv1,any,0", "fc,any,0"], "layer,format,latency_s")
    runner = CliRunner()
    shown = runner.invoke(app, ["evaluate", "imagenet_resnet", "--table", str(path), "--plan", "w8a8", "--mode", "inference", "--json"])
    assert shown.exit_code == 0, shown.output
    whole = sum(float(row["latency_ms_8"]) for row in csv.DictReader(lines)) * 1e-3
    assert json.loads(shown.output)["total"][0]["latency_s"] == pytest.approx(whole)
    out = tmp_path / "out"
    args = ["explore", "imagenet_resnet", "--table", str(path), "--mode", "inference", "--formats", "int4,int8"]
    done = runner.invoke(app, [*args, "--max-accuracy-drop", "1.5", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "proven" in done.output
    front = pd.read_csv(out / "front.csv")
    assert (front["certificate_gap"] == 0).all()
    assert front["latency_s"].max() == pytest.approx(whole)
    assert front["latency_s"].min() < 0.95 * whole
    plan = dse.Plan.load(out / "best.yaml", dse.load_workload("imagenet_resnet"))
    assert {cell.name for cell in plan.cells("weight")} == {"int4", "int8"}
    refused = runner.invoke(app, [*args[:5], "training"])
    assert refused.exit_code != 0
