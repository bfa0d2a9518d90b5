"""Later steps of a finished run are asked for with other settings: the earlier ones are kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.corpus import RecordFile
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.pipeline import run_experiment
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.step_files import STEP_KEYS, read_step
from rankadaptor.planning import estimate
from rankadaptor.tracking import opening, tracker
from tests.pipeline.comparing import strip_result

Again = Callable[..., dict[str, Any]]


@pytest.fixture
def finished(undisturbed: tuple[dict[str, Any], Path], tmp_path: Path) -> Path:
    """A copy of a finished run's folder."""
    return Path(shutil.copytree(undisturbed[1], tmp_path / "finished"))


@pytest.fixture
def again(pico_run: dict[str, Any], finished: Path) -> Again:
    def run(**changes: dict[str, Any]) -> dict[str, Any]:
        values = {**pico_run, **{key: {**pico_run[key], **value} for key, value in changes.items()}}
        return run_experiment(build_run(values), output=finished)

    return run


def list_times(folder: Path) -> dict[str, int]:
    """Return when each finished step and adapter was written."""
    files = [*folder.glob("steps/*.json"), *folder.glob("adapters/*/outcome.json")]
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns for file in files}


def test_more_seeds_are_paired_with_those_that_are_there(
    again: Again, finished: Path, undisturbed: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = undisturbed[0]
    before, times = RecordFile(finished / "records.jsonl").records, list_times(finished)
    told: list[str] = []

    class Recorder(tracker.Tracker):
        def log_record(self, record: Any, *, name: str, **_: Any) -> None:
            told.append(name)

    monkeypatch.setattr(opening, "Tracker", Recorder)
    more = again(confirm={"seeds": 4})
    records = RecordFile(finished / "records.jsonl").records
    assert records[: len(before)] == before
    assert len(records) == len(before) + 4  # two more seeds, a pair each
    assert {record.setting for record in records} == {first["run"]["digest"]}
    assert len(more["result"]["verdict"]["gains"]) == 4
    # The changed run is one of its own for the tracker, which is told of the earlier trials too.
    told = [name for name in told if not name.startswith("tune-")]
    assert told == [f"search-00{n}" for n in range(1, 5)] + [f"confirm-{seed}" for seed in range(1000, 1004)]
    assert more["result"]["recovered"] == first["result"]["recovered"]
    assert more["run"]["digest"] != first["run"]["digest"]
    changed = {name for name, time in list_times(finished).items() if times.get(name) != time}
    assert changed == {"steps/confirm.json"}

    # The earlier verdict is set aside, and back at once when it is asked for again.
    digest = first["run"]["digest"]
    assert (finished / f"run-{digest}.yaml").exists()
    assert json.loads((finished / f"result-{digest}.json").read_text()) == first
    measured = (finished / "records.jsonl").read_bytes()
    assert strip_result(again()) == strip_result(first)
    assert list_times(finished) == times
    assert (finished / "records.jsonl").read_bytes() == measured
    assert strip_result(again(confirm={"seeds": 4})) == strip_result(more)


def test_a_longer_recovery_does_not_resume_the_other_one(
    again: Again, finished: Path, pico_run: dict[str, Any], tmp_path: Path
) -> None:
    weights = (finished / "adapters/searched/adapter_model.safetensors").read_bytes()
    changes = {"steps": 6, "baselines": ["uniform", "linear_in_depth"]}
    longer = again(recover=changes)["result"]
    assert set(longer["recovered"]) == {"uniform", "searched", "linear_in_depth"}
    assert max(point["step"] for point in longer["recovered"]["uniform"]["curve"]) == 6
    kept = list(finished.glob("earlier/*/adapters/searched/adapter_model.safetensors"))
    assert [path.read_bytes() for path in kept] == [weights]
    anew = run_experiment(build_run({**pico_run, "recover": changes}), output=tmp_path / "anew")
    assert strip_result({"result": longer}) == strip_result(anew)
    times = list_times(finished)
    fewer = again(recover={"steps": 6})["result"]  # only which adapters are named has changed
    assert set(fewer["recovered"]) == {"uniform", "searched"}
    assert {name for name, time in list_times(finished).items() if times.get(name) != time} == {
        "steps/recover.json"
    }


def test_a_change_of_what_was_searched_is_refused_and_alone_listed(again: Again, finished: Path) -> None:
    times = list_times(finished)
    with pytest.raises(InputError, match=r"search.evaluations 4 → 5") as caught:
        again(search={"evaluations": 5}, confirm={"seeds": 9})
    assert "confirm.seeds" not in str(caught.value)
    assert list_times(finished) == times


def test_a_collection_s_folder_takes_no_changes(pico_run: dict[str, Any], finished: Path) -> None:
    changed = build_run({**pico_run, "recover": {"steps": 5}})
    with pytest.raises(InputError, match=r"recover.steps 4 → 5"), open_run(finished, changed):
        pass


def test_a_plan_knows_which_steps_are_left(pico_run: dict[str, Any], finished: Path) -> None:
    values = {**pico_run, "output": str(finished), "confirm": {"seeds": 5}}
    done = {step.name: step.done for step in estimate(build_run(values)).steps}
    assert done == {"prepare": True, "tune": True, "search": True, "confirm": False, "recover": True}


def test_a_change_that_is_cut_off_loses_nothing(
    again: Again, finished: Path, undisturbed: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rankadaptor.pipeline import run_folder

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "write_text", die)
        with pytest.raises(KeyboardInterrupt):
            again(recover={"steps": 6})
    assert not (finished / "steps" / "recover.json").exists()
    times = list_times(undisturbed[1])
    assert again() == undisturbed[0]
    assert list_times(finished).keys() == times.keys()


def test_the_precision_that_was_chosen_may_be_named(
    pico_run: dict[str, Any], finished: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    chosen = json.loads((finished / "steps" / "prepare.json").read_text())["compute"]["dtype"]
    other = {"float32": "bfloat16", "bfloat16": "float32"}[chosen]
    with open_run(finished, build_run({**pico_run, "compute": {"dtype": chosen}})) as folder:
        assert folder.digest == undisturbed[0]["run"]["digest"]
        assert folder.continued
    with (
        pytest.raises(InputError, match=f"compute.dtype auto → {other}"),
        open_run(finished, build_run({**pico_run, "compute": {"dtype": other}})),
    ):
        pass


@pytest.mark.parametrize("content", ["[]", "{}", '{"seconds": 1', "", "null"])
@pytest.mark.parametrize("step", STEP_KEYS)
def test_a_spoilt_step_file_is_named_with_its_remedy(tmp_path: Path, step: str, content: str) -> None:
    path = tmp_path / f"{step}.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=rf"{step}.json: must hold[\s\S]*Delete this file"):
        read_step(path, step)


def test_the_remedy_for_spoilt_files_works(
    again: Again, finished: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    records = (finished / "records.jsonl").read_bytes()
    spoilt = [*(finished / "steps").glob("*.json"), finished / "adapters/uniform/outcome.json"]
    spoilt = [file for file in spoilt if file.stem != "prepare"]
    for file in [*spoilt, finished / "result.json"]:
        file.write_text("[]")
    for _ in range(len(spoilt) + 1):
        with pytest.raises(CheckpointError, match="must hold") as caught:
            again()
        named = Path(str(caught.value).partition(": ")[0])
        named.unlink()
    result = again()
    assert strip_result(result) == strip_result(undisturbed[0])
    assert (finished / "records.jsonl").read_bytes() == records
