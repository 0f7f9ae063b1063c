"""CONTRIBUTING's examples add to the program from outside, each with as many files as its table says."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from dse.cli import app
from dse.export.targets import TARGETS
from dse.goals import LIMITS, OBJECTIVES
from dse.hardware.elements import FAMILIES as ELEMENTS
from dse.precision.formats import FAMILIES as FORMATS
from dse.precision.formats import parse_format
from dse.search.loop.strategies import STRATEGIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = {row[0]: (row[1], int(row[2])) for row in re.findall(r"^\| (a.*?) \| (.*?) \| (\d) \|$", PAGE, re.MULTILINE)}
REGISTRIES = {
    "a format family": FORMATS,
    "an element family": ELEMENTS,
    "an objective": OBJECTIVES,
    "a strategy": STRATEGIES,
    "an export target": TARGETS,
}


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """(files, records that it added) of every example, all run in order in one empty folder."""
    known = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    found, names = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("examples"))
        for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
            kind = section.split("\n", 1)[0]
            before = {of: set(registry) for of, registry in REGISTRIES.items()}
            files = []
            for text in BLOCK.findall(section):
                if head := re.match(r"# file: (\S+)\n", text):
                    path = Path(head[1])
                    path.write_text(text)
                    files.append(path.name)
                    spec = importlib.util.spec_from_file_location(path.stem, path)
                    spec.loader.exec_module(importlib.util.module_from_spec(spec))
                else:
                    exec(compile(text, f"CONTRIBUTING.md, {kind}", "exec"), names)
            found[kind] = files, {of: set(registry) - before[of] for of, registry in REGISTRIES.items() if set(registry) - before[of]}
    yield found
    for kind, registry in REGISTRIES.items():
        for name in set(registry) - set(known[kind]):
            del registry[name]
    parse_format.cache_clear()


def test_every_registry_has_an_example(examples):
    assert set(REGISTRIES) < set(examples)


@pytest.mark.parametrize("kind", ["a format of a known family", *REGISTRIES])
def test_an_example_takes_as_many_files_as_the_table_says(examples, kind):
    files, added = examples[kind]
    assert len(files) == TABLE[kind][1]
    assert {of: len(names) for of, names in added.items()} == ({kind: 1} if kind in REGISTRIES else {})


@pytest.mark.parametrize("kind", TABLE)
def test_places_of_the_table_exist(kind):
    for place in re.findall(r"`([\w/.]+/[\w/.]*)`", TABLE[kind][0]):
        assert (ROOT / place).exists(), place


def test_no_strategy_is_asked_for_by_name():
    """Options and defaults name strategies too, but nothing compares with a name; random is a sampler besides."""
    asked = re.compile(r"""(?:==|!=|\bin) \(?["'](?:nested|joint|exhaustive)["']""")
    assert asked.search('if strategy in ("nested", "exhaustive"):')
    rooms = [*(ROOT / "dse" / "cli").rglob("*.py"), *(ROOT / "dse" / "search").rglob("*.py")]
    assert [path.name for path in rooms if asked.search(path.read_text(encoding="utf-8"))] == []


def test_help_names_the_records_that_there_are(examples):
    """The command line loads no room for its help, so that names stand in it as text."""
    options = {parameter.name: parameter.help for parameter in typer.main.get_command(app).commands["explore"].params if parameter.param_type_name == "option"}
    own = {name for of, (_, added) in examples.items() for name in added.get(of, ())}
    assert re.findall(r"\w+", options["strategy"].replace(" or ", " ")) == [name for name in STRATEGIES if name not in own]
    assert set(options) >= {f"max_{name}" for name in LIMITS}
    assert [name for name in options if name.startswith("max_")] == ["max_accuracy_drop", *(f"max_{name}" for name in LIMITS)]
