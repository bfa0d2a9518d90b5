"""Kept results belong to the run files beside them, and documents show what they say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from experiments.expectations.figures import write_expectations
from experiments.frontier.margins import build_margins
from experiments.quickstart.__main__ import FIGURE
from experiments.quickstart.page import write_default_job, write_quickstart
from rankadaptor.config import load_job
from rankadaptor.files import read_json
from rankadaptor.report import render_markdown
from rankadaptor.results import read_result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
RUN_FILES = {"quickstart": "quickstart/run.yaml", "rank-search": "quickstart/rank_search.yaml"}


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_kept_result_is_of_its_run_file_as_it_stands(name: str) -> None:
    document = read_result(RESULTS / f"{name}.json")
    assert load_job(ROOT / "experiments" / RUN_FILES[name]).digest() == document["run"]["digest"]
    assert not document["run"]["commit"].endswith("+"), "made from changed code"
    assert "/home/" not in json.dumps(document)


def read_shown(file: str, name: str) -> str:
    text = (ROOT / file).read_text("utf-8")
    return text.split(f"<!-- generated:{name} -->")[1].split(f"<!-- /generated:{name} -->")[0].strip()


def test_documents_show_the_kept_results() -> None:
    document = read_result(RESULTS / "rank-search.json")
    blocks = render_markdown(document)
    for name in ("verdict", "losses"):
        assert read_shown("docs/what-to-expect.md", name) == blocks[name].strip()
    rows = read_json(RESULTS / "compare.json")
    assert read_shown("README.md", "expectations") == write_expectations(document, rows)
    quickstart = read_result(RESULTS / "quickstart.json")
    shown = write_quickstart(quickstart, figure=FIGURE.as_posix())
    assert read_shown("README.md", "quickstart") == shown.strip()
    default = read_result(RESULTS / "compress-smollm2-135m-75MB.json")
    assert read_shown("docs/how-to/compress.md", "default-job") == write_default_job(default)
    margins = build_margins(read_json(RESULTS / "frontier.json")).to_markdown()
    assert read_shown("README.md", "margins") == margins.strip()


def test_the_readme_is_short_and_has_no_studies() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    assert re.findall(r"<!-- generated:([\w-]+) -->", text) == ["quickstart", "margins", "expectations"]
    for file in ("README.md", "docs/what-to-expect.md"):
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / file).read_text("utf-8")):
            assert (ROOT / file).parent.joinpath(picture).is_file(), picture
