"""The architecture page names files that exist, and every part of the package."""

from __future__ import annotations

import re
from pathlib import Path

import rankadaptor

PACKAGE = Path(rankadaptor.__file__).parent
ROOT = PACKAGE.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`((?:rankadaptor|tests|experiments)/[\w/.-]*)`", PAGE))
    assert len(named) > 25
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_layout_names_every_part_of_the_package():
    layout = PAGE.partition("## From a run file")[0]
    rows = [line for line in layout.splitlines() if line.startswith("| ")]
    named = set(re.findall(r"`([\w.]+)(?:/[\w]*)*/?`", "\n".join(rows)))
    parts = {
        path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(parts - named - {"__init__.py", "__main__.py"}) == []


def test_every_kind_of_part_names_its_files():
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith(("| a ", "| an "))]
    kinds = {cells[0].removeprefix("an ").removeprefix("a ") for cells in rows}
    assert kinds == {
        "model family", "importance", "component", "predictor", "acquisition function", "benchmark",
        "data format",
    }  # fmt: skip
    assert all("`rankadaptor/" in cells[1] for cells in rows)
