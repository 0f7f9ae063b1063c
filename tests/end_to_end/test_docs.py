"""Every block of the documentation runs, page by page, in order, in an empty folder."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dse
from dse.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: The gallery has a test of its own.
PAGES = sorted(
    path
    for path in DOCS.glob("*.md")
    if BLOCK.search(path.read_text(encoding="utf-8")) and not path.name.startswith("reference") and path.stem != "gallery"
)


#: Pages whose blocks take ten seconds and more.
LONG = ("own-fusion", "cluster", "check-elsewhere", "tutorial")


def run_command(line):
    words = shlex.split(line, comments=True)
    assert words[0] == "dse", f"only dse is run: {line}"
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"


@pytest.mark.parametrize(
    "page", [pytest.param(path, marks=pytest.mark.long if path.stem in LONG else (), id=path.stem) for path in PAGES]
)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    if any("import torch" in text for _, text in blocks):
        pytest.importorskip("torch")
    for language, text in blocks:
        if language == "yaml":
            head = re.match(r"# file: (\S+)\n", text)
            assert head, f"a yaml block of {page.name} names no file"
            (tmp_path / head[1]).write_text(text)
        elif language == "python":
            exec(compile(text, f"{page.name}", "exec"), names)
        elif language == "sh":
            for line in text.splitlines():
                run_command(line)
        else:
            pytest.fail(f"{page.name}: nothing runs a block of {language}")


def test_links_lead_somewhere():
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", *ROOT.glob("reports/*.md"), *ROOT.glob("reports/example*/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("name", ["reference-yaml.md", "reference-api.md"])
def test_the_references_are_those_that_the_schemas_and_docstrings_give(name):
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / name).read_text(encoding="utf-8") == module.pages()[name], "run: python docs/generate.py"


@pytest.mark.parametrize("name", ["reference-yaml.md", "reference-api.md"])
def test_the_references_are_read_without_knowing_how_docstrings_are_written(name):
    page = (DOCS / name).read_text(encoding="utf-8")
    assert re.findall(r":[a-z]+:`[^`]*`|[0-9]e[+-][0-9]+ \||\b0x[0-9a-f]{6,}", page) == []


def test_the_reference_has_every_name_that_the_package_gives():
    page = (DOCS / "reference-api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) | {"InputError"}
    assert set(dse.__all__) - shown == set()


def test_every_key_of_every_file_has_a_meaning():
    page = (DOCS / "reference-yaml.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if not row.split("|")[2].strip()] == []
    assert "FieldInfo" not in page


def test_the_reference_of_files_names_no_class_and_its_links_lead_to_headings():
    page = (DOCS / "reference-yaml.md").read_text(encoding="utf-8")
    anchors = {re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in page.splitlines() if line.startswith("#")}
    links = re.findall(r"\]\(#([^)]+)\)", page)
    assert len(links) > 20
    assert [link for link in links if link not in anchors] == []
    columns = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in columns if re.search(r"\b[A-Z][a-z]+[A-Z_]\w*", row[3])] == []
