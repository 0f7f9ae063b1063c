"""The loss law: limits and laws of its formulas, the shipped fit against the measured runs, and what it refuses."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import dse
from dse.accuracy.law.fit import fit_reference
from dse.accuracy.law.law import RECIPES
from dse.accuracy.law.recipe import Recipe, Rounded, noise, recipes_of
from dse.accuracy.law.rows import read_runs
from dse.accuracy.law.terms import reference_loss
from dse.errors import InputError

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
FILES = [DATA / "pretraining_losses_mxfp4.csv", DATA / "pretraining_losses_nvfp4.csv"]
LAW = dse.load_law("llama_c4")


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up while it is made.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs():
    return [run for path in FILES for run in read_runs(path)]


def test_every_measured_run_has_a_recipe_and_bf16_runs_are_where_the_table_has_no_excess(runs):
    assert len(runs) == 160 + 544
    assert [run.why for run in runs if run.recipe is None] == []
    assert {run.excess for run in runs if run.recipe == Recipe()} == {0.0}


def test_shipped_errors_are_those_of_the_measured_runs(runs):
    low = [run for run in runs if run.recipe != Recipe()]
    excess = np.array([LAW.excess(run.parameters, run.tokens, run.recipe) - run.excess for run in low])
    loss = np.array([LAW.loss(run.parameters, run.tokens, run.recipe) - run.loss for run in runs])
    assert np.median(np.abs(excess)) < 0.002
    assert np.median(np.abs(loss)) < 0.004
    assert abs(excess.mean()) < 0.001
    assert abs(loss.mean()) < 0.002


def test_the_largest_size_is_foreseen_from_the_smaller_ones(runs):
    fitted = fit_reference([run for run in runs if run.parameters < 1e8], {name: e.value for name, e in LAW.file.reference.items()})
    held = [run for run in runs if run.parameters > 1e8 and run.recipe == Recipe()]
    errors = [float(reference_loss(fitted.values, np.array(run.parameters), np.array(run.tokens))) - run.loss for run in held]
    assert np.median(np.abs(errors)) < 0.012
    assert LAW.file.left_out["size"].excess < 0.004


def test_with_gamma_one_the_loss_is_the_sum_of_two_powers():
    p = {"irreducible": 1.7, "log_a": np.log(0.5), "alpha": 0.34, "log_b": np.log(0.3), "beta": 0.28, "gamma": 1.0}
    n, d = np.array(102_777_856.0), np.array(1e10)
    whole = 102_777_856 + 32_000 * 1024
    assert float(reference_loss(p, n, d)) == pytest.approx(1.7 + 0.5 * (whole / 1e8) ** -0.34 + 0.3)


def test_loss_falls_with_size_and_tokens_and_rises_with_noise():
    sizes, tokens = np.geomspace(3e7, 1e9, 8)[:, None], np.geomspace(1e9, 1e11, 9)
    for recipe in RECIPES:
        loss = LAW.loss(sizes, tokens, recipe)
        assert (np.diff(loss, axis=0) < 0.0).all()
        assert (np.diff(loss, axis=1) < 0.0).all(), recipe
    order = ["bf16", "fp8_e4m3", "mxfp8_e4m3", "mxfp6_e3m2", "nvfp4", "mxfp4_e2m1"]
    excess = dict(zip(order, (float(LAW.excess(1e8, 1e10, form)) for form in order), strict=True))
    assert excess["bf16"] == 0.0
    assert sorted(order, key=excess.get)[-2:] == ["nvfp4", "mxfp4_e2m1"]
    assert 0.0 < excess["mxfp8_e4m3"] < excess["mxfp6_e3m2"] < excess["nvfp4"]


def test_products_add_and_what_is_not_rounded_adds_nothing():
    full = Recipe(Rounded("nvfp4", "nvfp4"), Rounded("nvfp4", "bf16", "stochastic"), Rounded("nvfp4", "nvfp4", "stochastic"))
    alone = [Recipe(forward=full.forward), Recipe(data=full.data), Recipe(gradient=full.gradient)]
    assert float(LAW.excess(1e8, 1e10, full)) == pytest.approx(sum(float(LAW.excess(1e8, 1e10, part)) for part in alone))
    assert float(LAW.excess(1e8, 1e10, Recipe(Rounded("fp16", "bf16")))) == 0.0


def test_tokens_invert_the_loss_and_effective_sizes_give_it_in_bf16():
    target = float(LAW.loss(1e8, 2e10, "nvfp4"))
    assert LAW.tokens(target, 1e8, "nvfp4") == pytest.approx(2e10, rel=1e-6)
    assert LAW.tokens(target, 1e8) == pytest.approx(LAW.effective_tokens(1e8, 2e10, "nvfp4"))
    assert LAW.effective_tokens(1e8, 2e10, "nvfp4") < 2e10
    assert float(LAW.loss(LAW.effective_parameters(1e8, 2e10, "nvfp4"), 2e10)) == pytest.approx(target)
    with pytest.raises(InputError, match=r"never reaches 1\.5 nat; its lowest loss is"):
        LAW.tokens(1.5, 1e8, "nvfp4")


def test_a_plan_is_the_mean_of_its_layers_by_macs():
    net = dse.load_workload("gpt2_small")
    names = [layer.name for layer in net.mac_layers]
    mixed = dse.Plan.from_formats(net, {key: {names[0]: "nvfp4"} for key in ("weight", "activation", "error")}, default="bf16")
    macs = dict.fromkeys(names, 1.0)
    share = 1.0 / len(names)
    whole = float(LAW.excess(1e8, 1e10, "nvfp4"))
    assert float(LAW.excess(1e8, 1e10, mixed, macs=macs)) == pytest.approx(share * whole)
    assert float(LAW.excess(1e8, 1e10, dse.Plan.uniform(net, "nvfp4", "nvfp4", "nvfp4"))) == pytest.approx(whole)


def test_square_groups_and_one_copy_round_the_weight_once():
    net = dse.load_workload("gpt2_small")

    def again(weight, copies=""):
        (recipe,) = recipes_of(dse.Plan.uniform(net, weight, "nvfp4", "nvfp4", copies=copies), "stochastic")
        return recipe.data.second

    assert again("nvfp4") == "nvfp4"
    assert again("nvfp4:16x16") == again("int8") == again("nvfp4", "one") == "bf16"


def test_intervals_hold_measured_losses_and_grow_outside(runs):
    some = runs[::7]
    inside = [low <= run.loss <= high for run in some for low, high in [LAW.interval(run.parameters, run.tokens, run.recipe)]]
    assert np.mean(inside) >= 0.85
    near, far = (np.diff(LAW.interval(size, 100 * size, "nvfp4"))[0] for size in (1e8, 8e8))
    assert far > 1.5 * near
    assert LAW.excess_error(1e8, 1e10, "mxfp6_e3m2") > LAW.excess_error(1e8, 1e10, "bf16") == 0.0
    said = LAW.notes(8e8, 8e9, "fp8_e4m3")
    assert [line.split(":")[0] for line in said] == ["8e+08 parameters", "10 tokens per parameter", "No run was measured with fp8_e4m3"]
    assert LAW.notes(1e8, 1e10, "nvfp4") == []


def test_coarser_than_measured_is_unknown():
    assert noise("int2") > 3.5 * noise("nvfp4")
    assert np.isnan(LAW.loss(1e8, 1e10, "int2"))
    with pytest.raises(InputError, match="unknown"):
        LAW.tokens(3.0, 1e8, "int2")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LAW.loss(1e8, 1e10, "nvfp4_nvida"), "did you mean 'nvfp4_nvidia'"),
        (lambda: LAW.loss(1e8, 1e10, "nvfp4", rounding="random"), "unknown rounding 'random'"),
        (lambda: LAW.loss(-1.0, 1e10), "expected parameters above 0"),
        (lambda: LAW.loss(1e8, 1e10, Recipe(Rounded("nvfp4", "nvfp4", "nearest", ("magic",)))), "unknown feature 'magic'"),
        (lambda: dse.load_law("lama_c4"), "did you mean 'llama_c4'"),
    ],
)
def test_errors_say_the_way_out(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)


def test_a_law_file_with_gaps_is_refused_whole(tmp_path):
    text = (ROOT / "workloads" / "laws" / "llama_c4.yaml").read_text()
    broken = tmp_path / "law.yaml"
    broken.write_text(text.replace("  gamma:", "  gama:").replace("  recipe: {", "  recipes: {"))
    with pytest.raises(InputError) as caught:
        dse.load_law(broken)
    assert "lacks gamma" in str(caught.value)
    assert "lacks recipe" in str(caught.value)


def test_the_benchmark_judges_a_file_and_skips_what_it_does_not_know(tmp_path, monkeypatch, capsys):
    lines = FILES[0].read_text().splitlines()
    table = tmp_path / "rows.csv"
    table.write_text("\n".join([*lines[:40], lines[20].replace("BF16", "Secret4")]) + "\n")
    monkeypatch.setattr(sys, "argv", ["pretraining_loss.py", str(table)])
    benchmark("pretraining_loss").main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["rows"] == 37
    assert told["skipped"] == 1
    assert told["excess_median_abs"] < 0.004
    assert told["order"] > 0.8
    assert told["by"]["30M"]["rows"] == 37


def test_the_shipped_law_is_what_the_fit_command_gives(runs):
    module = benchmark("fit_loss_law")
    assert [path.name for path in module.FILES] == [path.name for path in FILES]
    fitted = fit_reference(runs)
    for name, estimate in LAW.file.reference.items():
        assert fitted.values[name] == pytest.approx(estimate.value, abs=0.05 * estimate.error), name
