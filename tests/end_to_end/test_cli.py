"""The command line as a user runs it, in a temporary folder: the installed program for what a process of its own shows, else in this one."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer.main

from dse.cli import app

DSE = [sys.executable, "-m", "dse.cli"]
ROOT = Path(__file__).parents[2]


def run(*args, cwd, code=0):
    done = subprocess.run([*DSE, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    out = folder / "first"
    run("explore", "workloads/fashion_cnn.yaml", "--trials", 8, "--out", out, cwd=folder)
    return out


def test_run_folder_is_complete(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"front.csv", "designs.csv", "plans", "run.json", "report.html", "layers.csv", "bits.csv"} <= names
    front = pd.read_csv(finished / "front.csv")
    expected = ["design", "latency_s", "energy_j", "area_mm2", "accuracy_drop_pp", "accuracy_drop_low_pp",
                "accuracy_drop_high_pp", "certificate_gap", "feasible"]  # fmt: skip
    assert list(front.columns)[:9] == expected
    assert len(front) >= 5
    assert (front["accuracy_drop_pp"] <= 1.0).all()
    assert front["feasible"].all()
    assert (front["certificate_gap"] >= 0).all()
    assert {path.stem for path in (finished / "plans").glob("*.yaml")} == set(front["design"])


def test_front_is_non_dominated(finished):
    values = pd.read_csv(finished / "front.csv")[["latency_s", "energy_j", "area_mm2"]].to_numpy()
    for i, row in enumerate(values):
        others = values[[j for j in range(len(values)) if j != i]]
        assert not ((others <= row).all(axis=1) & (others < row).any(axis=1)).any()


@pytest.mark.long
def test_any_number_of_processes_and_a_resume_give_the_same_front(dse_here, finished, tmp_path):
    dse_here("explore", "fashion_cnn", "--trials", 4, "--jobs", 2, "--out", "part", cwd=tmp_path)
    whole, part = finished / "front.csv", tmp_path / "part" / "front.csv"
    assert part.read_bytes() != whole.read_bytes()
    dse_here("explore", "fashion_cnn", "--trials", 8, "--out", "part", "--resume", cwd=tmp_path)
    assert part.read_bytes() == whole.read_bytes()


def test_design_of_the_front_is_reproduced_by_evaluate(finished, tmp_path):
    import dse

    front = pd.read_csv(finished / "front.csv")
    row = front.iloc[len(front) // 2]
    network = dse.load_workload("fashion_cnn")
    space = json.loads((finished / "run.json").read_text())["hardware"]["space"]
    hardware = dse.load_hardware("flex_trainer").with_values({item["name"]: row[item["name"]] for item in space})
    plan = dse.Plan.load(finished / "plans" / f"{row['design']}.yaml", network)
    total = dse.evaluate(network, hardware, plan).total.iloc[0]
    assert total["latency_s"] == pytest.approx(row["latency_s"], rel=1e-11)
    assert total["energy_j"] == pytest.approx(row["energy_j"], rel=1e-11)
    assert total["area_mm2"] == pytest.approx(row["area_mm2"], rel=1e-11)
    assert dse.load_profile("fashion_cnn").predict_drop(plan) == pytest.approx(row["accuracy_drop_pp"], abs=1e-9)


def test_evaluate_prints_json(dse_here, tmp_path):
    done = dse_here("evaluate", "fashion_cnn", "--hardware", "bit_fusion", "--plan", "w4a4e8", "--json", cwd=tmp_path)
    cost = json.loads(done.stdout)
    assert cost["total"][0]["latency_s"] > 0
    assert {row["pass"] for row in cost["layers"]} >= {"forward", "backward_data", "backward_weight"}


def test_list_names_the_shipped_files(dse_here, tmp_path):
    out = dse_here("list", cwd=tmp_path).stdout
    for name in ("imagenet_resnet50", "cifar_alexnet", "eyeriss_like", "tpu_like", "bit_fusion", "flex_trainer"):
        assert name in out


def bad_workload(tmp_path, old, new):
    text = (ROOT / "workloads" / "imagenet_resnet.yaml").read_text()
    assert old in text
    path = tmp_path / "net.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch:", "bach:", "did you mean 'batch'"),
        ("batch: 256", "batch: many", "expected an integer, got 'many'"),
        ("batch: 256", "batch: 0", "expected an integer >= 1, got 0"),
        ("batch: 256", "batch: -4", "expected an integer >= 1, got -4"),
        ("batch: 256", "batch: 256\nbatch: 128", "duplicate key"),
        ("batch: 256", "batch: 2e2", "write 2.0e+2"),
    ],
)
def test_workload_errors_name_file_and_line(dse_here, tmp_path, old, new, message):
    path = bad_workload(tmp_path, old, new)
    done = dse_here("explore", path, "--profile", "imagenet_resnet", "--out", tmp_path / "out", cwd=tmp_path, code=2)
    assert message in done.stderr
    assert str(path) in done.stderr
    assert "line " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_all_problems_come_at_once(dse_here, tmp_path):
    path = bad_workload(tmp_path, "batch: 256", "bach: 256\nsamples: -1")
    text = path.read_text()
    done = dse_here("explore", path, cwd=tmp_path, code=2)
    assert "problems" in done.stderr
    assert done.stderr.count("line ") >= 2, text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["explore", "imagenet_resnett"], "did you mean 'imagenet_resnet'"),
        (["explore", "missing.yaml"], "no such file"),
        (["explore", "imagenet_resnet", "--hardware", "flex_trainr"], "did you mean 'flex_trainer'"),
        (["explore", "imagenet_resnet", "--profile", "imagenet_resnet50"], "imagenet_resnet50"),
        (["explore", "imagenet_resnet34"], "imagenet_resnet34"),
        (["explore", "imagenet_resnet", "--max-accuracy-drop", "-5"], "nearest feasible value"),
        (["explore", "imagenet_resnet", "--objectives", "latency,enrgy"], "did you mean 'energy'"),
        (["explore", "imagenet_resnet", "--strategy", "nestd"], "did you mean 'nested'"),
        (["explore", "imagenet_resnet", "--trials", "0"], "expected an integer from 1 to 100,000, got 0"),
        (["evaluate", "imagenet_resnet", "--plan", "int3.5"], "int3.5"),
        (["evaluate", "imagenet_resnet", "--plan", "nothing.yaml"], "no such file"),
    ],
)
def test_wrong_arguments_are_one_sentence(dse_here, tmp_path, args, message):
    done = dse_here(*args, cwd=tmp_path, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder(dse_here, tmp_path):
    (tmp_path / "file").write_text("")
    done = dse_here("explore", "fashion_cnn", "--out", tmp_path / "file" / "run", cwd=tmp_path, code=2)
    assert "cannot be written" in done.stderr


def test_finished_run_is_not_overwritten(dse_here, finished, tmp_path):
    done = dse_here("explore", "fashion_cnn", "--trials", 8, "--out", finished, cwd=tmp_path, code=2)
    assert "holds a run already" in done.stderr


def test_no_sentence_of_the_help_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run("--help", cwd=tmp_path).stdout
    assert not [line for line in text.splitlines() if line.startswith("  ") and line.endswith("...")]
    assert "Train found designs: predicted against measured drop." in text


def test_help_names_the_exit_codes_and_version_is_printed(tmp_path):
    text = " ".join(run("--help", cwd=tmp_path).stdout.split())
    assert all(words in text for words in ("explore", "0 done", "1 the program failed", "2 an input is wrong", "130 stopped"))
    assert run("--version", cwd=tmp_path).stdout.strip()


@pytest.mark.parametrize("verb", sorted(typer.main.get_command(app).commands))
def test_every_verb_has_an_example_of_its_own_that_parses(verb):
    command = typer.main.get_command(app).commands[verb]
    words = shlex.split(command.epilog.partition("Example: ")[2].splitlines()[0])
    assert words[:2] == ["dse", verb]
    command.make_context(verb, words[2:])               # unknown or missing options would raise


@pytest.mark.parametrize(
    ("words", "expected"),
    [("dse evaluate imagenet_resnet", ["imagenet_resnet", "imagenet_resnet34", "imagenet_resnet50"]), ("dse sweep x --hardware unpu", ["unpu_like"])],
)
def test_the_shell_completes_shipped_names(words, expected, tmp_path):
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_DSE_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv[0] = 'dse'; from dse.cli import app; app(prog_name='dse')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected, done.stderr
