"""Hooks of mkdocs: pages of ``docs`` link to files of the repository, which the site takes in beside them.

A link out of ``docs`` (``../reports/example/figures/front.svg``) works on the pages of a repository, but not in a site that holds
``docs`` alone. Each file that a page links to is therefore copied below ``repository/``, pages included, and the links follow.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: Where the site has files from outside of ``docs``.
OUTSIDE = "repository"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)([^)]*\))")


def on_files(files: Files, config: Any) -> Files:
    """Add every file that a page links to and that lies outside of ``docs``, and what added pages link to in turn."""
    waiting = [Path("docs") / file.src_uri for file in files.documentation_pages()]
    known: set[Path] = set(waiting)
    while waiting:
        for path in _links(waiting.pop()):
            if path in known:
                continue
            known.add(path)
            if path.parts[0] != "docs":
                files.append(File.generated(config, f"{OUTSIDE}/{path.as_posix()}", abs_src_path=str(ROOT / path)))
                if path.suffix == ".md":
                    waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with its links out of ``docs`` led to where the site has the files; what the site lacks becomes plain text."""
    source = _repository_path(page.file.src_uri)

    def follow(match: re.Match[str]) -> str:
        target = _target(source, match[2])
        if target is None:
            return match[0]
        if not (ROOT / target).is_file():
            return re.sub(r"^!?\[|\]\($", "", match[1])
        wanted = target.relative_to("docs").as_posix() if target.parts[0] == "docs" else f"{OUTSIDE}/{target.as_posix()}"
        return f"{match[1]}{posixpath.relpath(wanted, posixpath.dirname(page.file.src_uri) or '.')}{match[3]}"

    return LINK.sub(follow, markdown)


def _repository_path(src_uri: str) -> Path:
    """The path in the repository of a file of the site."""
    path = Path(src_uri)
    return path.relative_to(OUTSIDE) if path.parts[0] == OUTSIDE else Path("docs") / path


def _target(source: Path, link: str) -> Path | None:
    """The path in the repository that a link leads to; None for another site's."""
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    path = Path(posixpath.normpath((source.parent / link).as_posix()))
    return None if path.parts[:1] == ("..",) else path


def _links(page: Path) -> Iterator[Path]:
    for match in LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
        target = _target(page, match[2])
        if target is not None and (ROOT / target).is_file():
            yield target
