"""Runs the examples of gallery.md and draws their pictures: ``python docs/gallery.py [NUMBER ...]``, in some minutes.

Every ``python`` block of the page ends with a plotly figure named ``figure``; the picture of the n-th is ``N.svg``.
Needs ``pip install 'lowprec-dse[figures,torch,onnx]'`` and a Chromium.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "gallery.md"
PICTURES = Path(__file__).parent / "pictures" / "gallery"
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


def run(number: int) -> Any:
    """The figure of the n-th example, counted from one, made in the folder that is the current one."""
    file, code = blocks()[number - 1]
    if file:
        Path(re.findall(r"# file: (\S+)", file)[0]).write_text(file)
    names: dict[str, Any] = {}
    exec(compile(code, f"gallery.md, example {number}", "exec"), names)
    return names["figure"]


def main() -> None:
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
