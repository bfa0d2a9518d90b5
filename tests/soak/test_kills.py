"""Killed at random points, a run ends with the records of an undisturbed one, each exactly once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rankadaptor.config import build_run, dump_run
from rankadaptor.corpus import RecordFile
from tests.pipeline.comparing import read_records, strip_result
from tests.soak.killing import Killer

logger = logging.getLogger(__name__)

KILLS = int(os.environ.get("SOAK_KILLS", "40"))


def finish(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def check_once(path: Path) -> None:
    stored = RecordFile(path).records
    assert len({record.key for record in stored}) == len(stored)
    assert {record.status for record in stored} == {"ok"}
    assert path.read_bytes().count(b"\n") == len(stored)  # no torn line is left


@pytest.mark.parametrize(("trials", "kills"), [(80, 4), pytest.param(1200, 32, marks=pytest.mark.soak)])
def test_quick_trials_survive_kills_of_driver_and_workers(tmp_path: Path, trials: int, kills: int) -> None:
    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "tests.soak.campaign", str(tmp_path / name), str(trials)]

    records = tmp_path / "killed" / "records.jsonl"
    killer = Killer(command("killed"), records, Random(0), pause=0.3, stride=8)
    ended = killer.disturb(kills)
    assert not ended
    assert killer.done.drivers
    assert killer.done.workers
    finish(command("killed"))
    finish(command("undisturbed"))
    check_once(records)
    assert read_records(tmp_path / "killed") == read_records(tmp_path / "undisturbed")
    assert len(read_records(tmp_path / "killed")) == trials


@pytest.mark.soak
def test_whole_runs_survive_kills_at_random_points(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["search"] |= {"evaluations": 40, "batch": 4}
    pico_run["confirm"] = {"seeds": 8}
    pico_run["compute"] = {"workers": 2}

    def command(name: str) -> list[str]:
        file = tmp_path / f"{name}.yaml"
        file.write_text(dump_run(build_run({**pico_run, "output": str(tmp_path / name)})))
        return [sys.executable, "-m", "rankadaptor", "run", str(file)]

    finish(command("undisturbed"))
    expected = json.loads((tmp_path / "undisturbed" / "result.json").read_text())
    kills = rounds = 0
    while kills < KILLS:
        name = f"killed-{rounds}"
        records = tmp_path / name / "records.jsonl"
        killer = Killer(command(name), records, Random(rounds), pause=6.0, stride=8)
        if not killer.disturb(KILLS - kills):
            finish(command(name))
        check_once(records)
        assert read_records(tmp_path / name) == read_records(tmp_path / "undisturbed")
        found = json.loads((tmp_path / name / "result.json").read_text())
        assert strip_result(found) == strip_result(expected)
        kills, rounds = kills + killer.done.kills, rounds + 1
        logger.warning("%s: %s", name, killer.done)
    assert kills >= KILLS
