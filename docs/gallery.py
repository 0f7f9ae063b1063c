"""Runs the examples of gallery.md and draws their pictures: ``python docs/gallery.py [NUMBER ...]``, in some minutes.

Every ``python`` block of the page ends with a plotly figure named ``figure``; the picture of the n-th is ``N.svg``.
Needs ``pip install 'lowprec-dse[figures,torch,onnx]'`` and a Chromium. ``python docs/gallery.py --notebooks`` writes the same
examples as notebooks, ``notebooks/N.ipynb``, and runs nothing.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "gallery.md"
PICTURES = Path(__file__).parent / "pictures" / "gallery"
NOTEBOOKS = Path(__file__).parent / "notebooks"
TRIPLE = '"""'
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """(file, code) of every example in order; ``file`` is the YAML that stands before it, "" if none does."""
    found, before = [], ""
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            found.append((before, text))
            before = ""
        else:
            before = text
    return found


def notebook(number: int) -> str:
    """The n-th example, counted from one, as the text of a notebook (nbformat 4.5): its question, its file, its code."""
    head = re.compile(r"^## (\d+\. [^\n]*)\n\n(.*?)\n\n```", re.MULTILINE | re.DOTALL)
    title, question = head.findall(PAGE.read_text(encoding="utf-8"))[number - 1]
    file, code = blocks()[number - 1]
    cells = [("markdown", f"# {title}\n\n{question}")]
    if file:
        name = re.findall(r"# file: (\S+)", file)[0]
        cells.append(("code", f"from pathlib import Path\n\nPath({name!r}).write_text({TRIPLE}\\\n{file}{TRIPLE})"))
    cells.append(("code", f"{code.rstrip()}\nfigure"))
    records = [
        {"cell_type": kind, "id": f"cell-{place}", "metadata": {}, "source": source.splitlines(keepends=True)}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for place, (kind, source) in enumerate(cells)
    ]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    whole = {"cells": records, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def run_notebook(text: str) -> Any:
    """The figure that the code cells of a notebook leave, run one after the other in the folder that is the current one."""
    names: dict[str, Any] = {}
    for place, cell in enumerate(json.loads(text)["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {place}", "exec"), names)
    return names["figure"]


def run(number: int) -> Any:
    """The figure of the n-th example, counted from one, made in the folder that is the current one."""
    file, code = blocks()[number - 1]
    if file:
        Path(re.findall(r"# file: (\S+)", file)[0]).write_text(file)
    names: dict[str, Any] = {}
    exec(compile(code, f"gallery.md, example {number}", "exec"), names)
    return names["figure"]


def main() -> None:
    if sys.argv[1:] == ["--notebooks"]:
        for number in range(1, len(blocks()) + 1):
            (NOTEBOOKS / f"{number}.ipynb").write_text(notebook(number), encoding="utf-8")
        return
    wanted = [int(text) for text in sys.argv[1:]] or range(1, len(blocks()) + 1)
    for number in wanted:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            figure = run(number)
            figure.update_layout(template="simple_white", width=640, height=400, margin={"l": 60, "r": 20, "t": 20, "b": 60})
            figure.write_image(PICTURES / f"{number}.svg")
            print(number, flush=True)


if __name__ == "__main__":
    main()
