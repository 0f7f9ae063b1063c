"""The documentation as a site: its navigation has every page once. The gate builds it strictly."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_navigation_has_every_page_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = [page for section in settings["nav"] for pages in section.values() for page in pages]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert settings["strict"] is True
