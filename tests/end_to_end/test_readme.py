"""The README's Python runs, its tables are what the commands print, and the commands it names exist."""

import json
import re
from pathlib import Path

import typer.main

from dse.cli import app
from dse.cost.model import LEFT_OUT
from dse.validation.summary import summary_markdown
from dse.validation.table import validation_table

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert len(blocks) >= 3
    assert len(names["run"].front) > 0
    assert 0 < names["drop"] < 20
    assert (names["total"]["latency_s"] > 0).all()


def test_the_validation_table_is_the_one_that_the_command_prints():
    ours = summary_markdown(validation_table())
    missing = [line for line in ours.splitlines() if line not in README]
    assert not missing, "dse validate --summary prints other lines:\n" + "\n".join(missing)


def test_what_the_model_leaves_out_is_said():
    text = " ".join(README.split())
    missing = [sentence for sentence in LEFT_OUT if " ".join(sentence.split()) not in text]
    assert not missing


def test_every_command_exists():
    known = set(typer.main.get_command(app).commands)
    named = set(re.findall(r"\bdse ([a-z]+)\b", " ".join(re.findall(r"`[^`]+`|^    .*$", README, re.MULTILINE))))
    assert named <= known
    assert known - named == set()


def test_the_picture_was_made_by_the_command_beside_it():
    assert "](reports/example/figures/front.svg)" in README
    made = json.loads((Path(__file__).parents[2] / "reports" / "example" / "run.json").read_text(encoding="utf-8"))["command"]
    assert f"    {made}\n" in README
    assert "    dse report reports/example --figures svg\n" in README
