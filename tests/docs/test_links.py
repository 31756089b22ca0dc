"""Every relative link of the pages leads to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def broken(text: str, folder: Path) -> list[str]:
    """Return the targets of Markdown links that are not there."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [t for t in targets if "://" not in t and not (folder / t).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page.read_text(encoding="utf-8"), page.parent) == []


def test_a_broken_link_would_be_found() -> None:
    text = "[here](README.md), [there](docs/nowhere.md#top), [outside](https://example.org)"
    assert broken(text, ROOT) == ["docs/nowhere.md"]
