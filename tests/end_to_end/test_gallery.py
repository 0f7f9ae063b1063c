"""The gallery's examples run and have their pictures; what takes minutes of tables is left to ``python docs/gallery.py``."""

import importlib.util
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

DOCS = Path(__file__).parents[2] / "docs"
#: Examples on small networks.
QUICK = (1, 3, 7, 8)


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("docs_gallery", DOCS / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_its_picture(gallery):
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    count = len(gallery.blocks())
    assert count == len(re.findall(r"^## ", text, re.MULTILINE)) == 10
    assert re.findall(r"pictures/gallery/(\d+)\.svg", text) == [str(number) for number in range(1, count + 1)]
    assert all((DOCS / "pictures" / "gallery" / f"{number}.svg").stat().st_size > 1000 for number in range(1, count + 1))


def test_every_example_is_a_notebook(gallery):
    for number in range(1, len(gallery.blocks()) + 1):
        text = (DOCS / "notebooks" / f"{number}.ipynb").read_text(encoding="utf-8")
        assert text == gallery.notebook(number), "python docs/gallery.py --notebooks"


@pytest.mark.parametrize("number", QUICK)
def test_example_runs_as_a_notebook(gallery, number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure = gallery.run_notebook((DOCS / "notebooks" / f"{number}.ipynb").read_text(encoding="utf-8"))
    assert all(len(trace.y) for trace in figure.data)
