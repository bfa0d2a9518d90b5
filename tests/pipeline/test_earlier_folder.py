"""Run folders whose spaces and records are of schema 1 continue, and nothing in them is measured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.components.adapter import read_space
from rankadaptor.config import build_run
from rankadaptor.files import compute_digest
from rankadaptor.pipeline import run_experiment, trials
from rankadaptor.recovery import final
from rankadaptor.space import Allocation
from tests.pipeline.comparing import read_records, strip_result
from tests.pipeline.earlier import age_folder

Undisturbed = tuple[dict[str, Any], Path]


@pytest.fixture
def earlier(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """A finished run's folder as an earlier version left it."""
    folder = Path(shutil.copytree(undisturbed[1], tmp_path / "earlier"))
    age_folder(folder)
    return folder


def forget(folder: Path, *steps: str) -> None:
    (folder / "result.json").unlink()
    for step in steps:
        (folder / "steps" / f"{step}.json").unlink()


def test_a_finished_one_keeps_its_result(
    earlier: Path, undisturbed: Undisturbed, pico_run: dict[str, Any]
) -> None:
    """Its commit, times and environment too: today's version measured nothing of it."""
    first = undisturbed[0]
    stored = json.loads((earlier / "steps" / "space.json").read_text())["space"]
    assert stored["schema"] == 1
    assert first["result"]["space"]["digest"] == compute_digest(stored)
    written = json.loads((earlier / "result.json").read_text())
    written["run"]["commit"] = "earlier"
    (earlier / "result.json").write_text(json.dumps(written))
    assert run_experiment(build_run(pico_run), output=earlier) == written


def test_it_continues_without_measuring_anything_again(
    earlier: Path, undisturbed: Undisturbed, pico_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, folder = undisturbed
    forget(earlier, "tune", "search", "confirm", "recover", "evaluate")
    before = (earlier / "records.jsonl").read_bytes()
    assert json.loads(before.splitlines()[0])["schema"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(trials, "build_trials", None)
        patch.setattr(final, "fine_tune", None)
        again = run_experiment(build_run(pico_run), output=earlier)
    assert strip_result(again) == strip_result(first)
    assert again["result"]["cost"]["tokens_trained"] == first["result"]["cost"]["tokens_trained"]
    assert (earlier / "records.jsonl").read_bytes() == before
    assert read_records(earlier) == read_records(folder)
    for name in ("uniform", "searched"):
        stored = json.loads((earlier / "adapters" / name / "allocation.json").read_text())
        space = read_space(json.loads((earlier / "steps" / "space.json").read_text())["space"])
        values = again["result"]["recovered"][name]["values"]
        assert Allocation.from_json(stored, space).values == tuple(values)


def test_what_a_killed_run_of_an_earlier_version_lacks_is_added(
    earlier: Path, undisturbed: Undisturbed, pico_run: dict[str, Any]
) -> None:
    first, folder = undisturbed
    forget(earlier, "search", "confirm")
    lines = (earlier / "records.jsonl").read_bytes().splitlines(keepends=True)
    kept = b"".join(lines[: len(lines) // 2])
    (earlier / "records.jsonl").write_bytes(kept)
    again = run_experiment(build_run(pico_run), output=earlier)
    assert strip_result(again) == strip_result(first)
    after = (earlier / "records.jsonl").read_bytes()
    assert after.startswith(kept)
    added = [json.loads(line) for line in after[len(kept) :].splitlines()]
    assert len(added) == len(lines) - len(lines) // 2
    assert {record["schema"] for record in added} == {2}
    assert read_records(earlier) == read_records(folder)
