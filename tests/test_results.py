"""Kept results belong to the run files beside them, and the README shows what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rankadaptor.config import load_run
from rankadaptor.report import render_markdown
from rankadaptor.results import read_result

ROOT = Path(__file__).parents[1]
RUN_FILES = sorted(ROOT.glob("experiments/*/run.yaml"))


def locate_result(run_file: Path) -> Path:
    return ROOT / "experiments" / "results" / f"{run_file.parent.name}.json"


@pytest.mark.parametrize("run_file", RUN_FILES, ids=lambda path: path.parent.name)
def test_a_kept_result_is_of_its_run_file_as_it_stands(run_file: Path) -> None:
    document = read_result(locate_result(run_file))
    assert load_run(run_file).digest() == document["run"]["digest"]
    assert not document["run"]["commit"].endswith("+"), "made from changed code"
    assert "/home/" not in json.dumps(document)


def test_the_readme_shows_the_kept_result() -> None:
    text = (ROOT / "README.md").read_text()
    shown = text.split("<!-- generated:results -->")[1].split("<!-- /generated:results -->")[0]
    document = read_result(ROOT / "experiments" / "results" / "quickstart.json")
    assert shown.strip() == render_markdown(document)["results"].strip()
