"""Searches over floats, block formats and pairs, against every map of a small network evaluated one by one."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

import dse
from dse.errors import InputError
from dse.goals import objective_columns
from dse.search.allocation.candidates import asked_formats, candidates
from dse.search.bits.solve import FIXED_WEIGHTS

NETWORK = """
source: made up
batch: 32
samples: 32
epochs: 1
optimizer: momentum
input: {C: 64, H: 8, W: 8}
layers:
  - {op: conv, name: first, K: 64, R: 3, pad: 1, then: [norm, relu]}
  - {op: conv, name: second, K: 96, R: 3, pad: 1, then: [relu]}
  - {op: global_pool, name: pool}
  - {op: fc, name: last, K: 64}
  - {op: loss, name: loss}
"""
PROFILE = """
network: small
source: made up
method: made up
score: made up
prediction:
  quantity: top1
  baseline: 70.0
  baseline_name: made up
  calibration: post-training
  link: saturating
layers:
  first: {weight: {3: 1.0, 4: 0.2, 8: 0.002}, activation: {3: 1.5, 4: 0.3, 8: 0.003}}
  second: {weight: {3: 0.6, 4: 0.1, 8: 0.0005}, activation: {3: 0.8, 4: 0.15, 8: 0.001}}
  last: {weight: {3: 0.9, 4: 0.15, 8: 0.001}, activation: {3: 0.4, 4: 0.07, 8: 0.0004}}
points:
  - {name: u8, value: 69.95, weight: 8, activation: 8}
  - {name: u4, value: 67.0, weight: 4, activation: 4}
  - {name: u3, value: 60.0, weight: 3, activation: 3}
error_tensor: {source: made up, note: made up, baseline: 70.0, baseline_name: made up, widths: {8: 69.9, 4: 69.6}}
"""
#: What each accelerator searches by itself, and the formats of the errors.
CASES = {
    "mx_trainer": (["mxfp8_e4m3", "mxfp4_e2m1"], ["mxfp4_e2m1", "mxfp8_e5m2"]),
    "fp8_trainer": (["fp8_e4m3", "fp8_e5m2"], ["fp8_e5m2"]),
    "flexblock_like": (["bfp4", "bfp8"], ["bfp8"]),
    "a100": (["bf16", "mxfp8_e4m3"], ["fp8_e5m2"]),  # conversions are kernels of their own
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    (folder / "small.yaml").write_text(NETWORK)
    (folder / "profile.yaml").write_text(PROFILE)
    return folder / "small.yaml", folder / "profile.yaml"


def fixed(name):
    """The default design of a shipped accelerator, so that bit maps are all that is searched."""
    hardware = dse.load_hardware(name)
    return hardware.with_values({item.name: item.default for item in hardware.space})


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long if name == "a100" else ()) for name in CASES])
def test_the_map_found_is_the_best_of_all(small, name):
    formats, errors = CASES[name]
    hardware, network = fixed(name), dse.load_workload(small[0])
    run = dse.explore(
        small[0],
        hardware,
        profile=small[1],
        formats=formats,
        error_formats=errors,
        strategy="exhaustive",
        max_accuracy_drop=1.5, confidence=0.5,
    )
    assert run.info["certificate"]["worst_gap"] == 0.0
    profile = dse.load_profile(small[1], network)
    names = [layer.name for layer in network.mac_layers]
    # Both operands of every layer, but for layers that the search ties because they read one tensor.
    groups = run.problem.subjects[0].groups
    pairs = list(product(formats, formats))
    plans = []
    for error in errors:
        for picked in product(pairs, repeat=len(groups)):
            given = {names[index]: pair for members, pair in zip(groups, picked, strict=True) for index in members}
            plans.append(
                dse.Plan.from_formats(
                    network,
                    {
                        "weight": {n: p[0] for n, p in given.items()},
                        "activation": {n: p[1] for n, p in given.items()},
                        "error": error,
                    },
                )
            )
    plans = [plan for plan in plans if profile.predict_drop(plan) <= 1.5 + 1e-9]
    if len(plans) > 150:
        plans = [plans[index] for index in np.random.default_rng(0).choice(len(plans), 150, replace=False)]
    total = dse.evaluate(network, hardware, plans).total
    unit = run.problem.reference[[objective_columns().index(column) for column in ("latency_s", "energy_j")]]
    assert total["feasible"].any()
    for weight in FIXED_WEIGHTS:
        mixed = [
            np.array([weight, 1 - weight]) @ (table[["latency_s", "energy_j"]].to_numpy() / unit).T
            for table in (total, run.front)
        ]
        assert np.nanmin(mixed[1]) <= np.nanmin(mixed[0][total["feasible"].to_numpy()]) * (1 + 1e-9)
    # Its figures are those of evaluating its plan.
    row = run.front.iloc[0]
    again = dse.evaluate(network, hardware, run.plan(row["design"])).total.iloc[0]
    assert [again["latency_s"], again["energy_j"]] == pytest.approx([row["latency_s"], row["energy_j"]], rel=1e-9)
    assert profile.predict_drop(run.plan(row["design"])) == pytest.approx(row["accuracy_drop_pp"], abs=1e-9)


def test_hardware_alone_is_searched_on_a_gpu_under_a_recipe(small):
    """No profile is needed; of a data sheet an error says where it goes."""
    run = dse.explore(small[0], fixed("a100"), plan="fp8_linear", strategy="exhaustive")
    network = dse.load_workload(small[0])
    again = dse.evaluate(network, fixed("a100"), "fp8_linear", mode="training").total.iloc[0]
    row = run.front.iloc[0]
    assert [again["latency_s"], again["energy_j"]] == pytest.approx([row["latency_s"], row["energy_j"]])
    assert again["convert_s"] > 0
    with pytest.raises(dse.InputError, match=r"data sheet of products.*--system dgx_b200"):
        dse.load_hardware("b200")


def test_what_is_searched_follows_the_elements(small):
    """Without a list: what a file names, floats where elements take no integers, else integers."""
    asked = {}
    for name in ("mx_trainer", "fp8_trainer", "flexblock_like", "mls_unit", "bit_fusion"):
        asked[name] = asked_formats(None, None, dse.load_hardware(name))
    assert asked["mx_trainer"][0] == "mxint8"
    assert asked["flexblock_like"] == ("bfp4", "bfp8", "bfp16")
    assert asked["fp8_trainer"] == ("fp8_e4m3", "fp8_e5m2")
    assert asked["mls_unit"] == ("mls_e2m4",)
    assert asked["bit_fusion"] == tuple(f"int{bits}" for bits in range(2, 9))
    assert asked_formats((8, 4), ("nvfp4", "w4a8"), dse.load_hardware("fp8_trainer")) == (
        "int4",
        "int8",
        "nvfp4",
        "w4a8",
    )


def test_pairs_and_formats_make_candidates():
    both = candidates(["int8", "bf16", "w4a8", "weight=nvfp4,activation=mxfp8_e4m3"], tied=False)
    named = [(item.weight.name, item.activation.name) for item in both]
    assert sorted(named) == sorted([*product(("int8", "bf16"), repeat=2), ("int4", "int8"), ("nvfp4", "mxfp8_e4m3")])
    assert len(candidates(["int8", "bf16", "w4a8"], tied=True)) == 3
    with pytest.raises(InputError, match=r"int3\.5"):
        asked_formats(None, ["int3.5", "actnn2"], dse.load_hardware("fp8_trainer"))


def test_errors_may_differ_between_layers_and_count_as_the_narrowest(small):
    options = {
        "profile": small[1],
        "formats": ["mxfp4_e2m1", "mxfp8_e4m3"],
        "error_formats": ["mxfp4_e2m1", "mxfp8_e5m2"],
        "max_accuracy_drop": 3.0, "confidence": 0.5,
    }
    hardware = fixed("mx_trainer")
    alike = dse.explore(small[0], hardware, strategy="exhaustive", **options)
    apart = dse.explore(small[0], hardware, strategy="exhaustive", errors_per_layer=True, **options)
    for column in ("latency_s", "energy_j"):
        assert apart.front[column].min() <= alike.front[column].min() * (1 + 1e-12)
    profile = dse.load_profile(small[1], dse.load_workload(small[0]))
    for row in apart.front.itertuples():
        assert profile.predict_drop(apart.plan(row.design)) <= row.accuracy_drop_pp + 1e-9


def test_what_was_not_measured_is_marked(small):
    run = dse.explore(small[0], fixed("fp8_trainer"), profile=small[1], max_accuracy_drop=3.0, confidence=0.5, trials=2)
    assert (run.front["layers_by_law"] == 3).all()
    assert any("scored by a law" in note and "fp8_e4m3 as 6.1 bits" in note for note in run.notes)
    plain = dse.explore(small[0], fixed("bit_fusion"), profile=small[1], max_accuracy_drop=3.0, confidence=0.5, widths=(4, 8), trials=2)
    assert "layers_by_law" not in plain.front
    assert not any("law" in note for note in plain.notes)
    with pytest.raises(InputError, match="goes without --plan"):
        dse.explore(small[0], fixed("fp8_trainer"), plan="fp8_e4m3", formats=["fp8_e4m3"])
    with pytest.raises(InputError, match="lower and raise the widths"):
        dse.explore(small[0], fixed("fp8_trainer"), profile=small[1], schedules="cyclic", max_accuracy_drop=3.0, confidence=0.5)


def test_a_search_says_which_widths_run_as_others(small, tmp_path):
    """Composable lanes take 5 to 7 bits as 8: a gain in storage, not in time; what runs at its own speed is not named."""
    run = dse.explore(
        small[0], fixed("bit_fusion"), profile=small[1], max_accuracy_drop=3.0, confidence=0.5, widths=(4, 5, 8), trials=1,
        out=tmp_path / "run", write=True,
    )  # fmt: skip
    bits = pd.read_csv(tmp_path / "run" / "bits.csv")
    assert set(zip(bits["format"], bits["runs_as"], strict=True)) <= {("int4", 4), ("int5", 8), ("int8", 8)}
    with_five = set(bits.loc[bits["format"] == "int5", "design"])
    assert with_five
    for path in (tmp_path / "run" / "plans").glob("*.yaml"):
        assert ("5 bits run as 8" in path.read_text()) == (path.stem in with_five)
        dse.Plan.load(path, dse.load_workload(small[0]))
    said = [note for note in run.notes if "run as" in note]
    assert len(said) == 1
    assert "5 bits run as 8" in said[0]
    assert "4 bits" not in said[0]
    assert not any("run as" in note for note in explored_at_full_speed(small).notes)


def explored_at_full_speed(small):
    return dse.explore(small[0], fixed("bit_fusion"), profile=small[1], max_accuracy_drop=3.0, confidence=0.5, widths=(4, 8), trials=1)
