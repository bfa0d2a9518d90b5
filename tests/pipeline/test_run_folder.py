"""A run's folder belongs to one run and one writer, and a finished step is never computed twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rankadaptor.config import build_run
from rankadaptor.errors import InputError, StorageError
from rankadaptor.pipeline.run_folder import open_run


def test_a_finished_step_is_read_not_repeated(tmp_path: Path) -> None:
    config = build_run({"name": "one"})
    with open_run(tmp_path / "out", config) as folder:
        first = folder.complete("step", lambda: {"value": 1})
    with open_run(tmp_path / "out", config) as folder:
        assert folder.finished("step")
        second = folder.complete("step", lambda: pytest.fail("computed twice"))
    assert first == second
    assert first["value"] == 1
    assert first["seconds"] >= 0


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> dict[str, int]:
        raise InputError("no")

    with open_run(tmp_path, build_run({})) as folder:
        with pytest.raises(InputError, match="no"):
            folder.complete("step", fail)
        assert not folder.finished("step")


def test_another_run_is_refused_with_the_difference(tmp_path: Path) -> None:
    with open_run(tmp_path, build_run({"recover": {"steps": 1000}})):
        pass
    with (
        pytest.raises(InputError, match=r"recover.steps 1000 → 500[\s\S]*--fresh"),
        open_run(tmp_path, build_run({"recover": {"steps": 500}})),
    ):
        pass


def test_a_change_that_alters_no_result_is_welcome(tmp_path: Path) -> None:
    with open_run(tmp_path, build_run({"compute": {"workers": 1}})) as folder:
        folder.complete("step", lambda: {})
    with open_run(tmp_path, build_run({"compute": {"workers": 2}})) as folder:
        assert folder.finished("step")


def test_fresh_throws_the_old_run_away(tmp_path: Path) -> None:
    with open_run(tmp_path, build_run({"seed": 1})) as folder:
        folder.complete("step", lambda: {})
    with open_run(tmp_path, build_run({"seed": 2}), fresh=True) as folder:
        assert not folder.finished("step")


@pytest.mark.parametrize("is_run", [True, False])
def test_fresh_throws_away_nothing_but_runs(tmp_path: Path, is_run: bool) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.md").write_text("much work")
    if is_run:  # such as the folder that a run file was written to
        with open_run(tmp_path, build_run({})) as folder:
            folder.complete("step", lambda: {})
    with (
        pytest.raises(InputError, match="delete thesis, which is no file of a run"),
        open_run(tmp_path, build_run({}), fresh=True),
    ):
        pass
    assert (tmp_path / "thesis" / "chapter.md").read_text() == "much work"
    assert (tmp_path / "steps" / "step.json").exists() == is_run


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from rankadaptor.config import build_run\n"
        "from rankadaptor.errors import InputError\n"
        "from rankadaptor.pipeline.run_folder import open_run\n"
        "try:\n"
        "    with open_run(Path(sys.argv[1]), build_run({})): print('entered')\n"
        "except InputError as error: print('refused', error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with open_run(tmp_path, build_run({})):
        inside = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert inside.startswith("refused")
    assert "another process" in inside
    assert after.startswith("entered")


def test_an_unwritable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match=r"file.out.*cannot be written"),
        open_run(tmp_path / "file" / "out", build_run({})),
    ):
        pass


def test_a_clearing_that_is_cut_off_leaves_no_finished_step_and_no_other_run_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path, build_run({"seed": 1})) as folder:
        folder.complete("step", lambda: {})
        (tmp_path / "pruned").mkdir()
        (tmp_path / "pruned" / "config.json").write_text("{}")
    remove, removed = shutil.rmtree, []

    def remove_then_die(path: Path) -> None:
        remove(path)
        removed.append(path.name)
        if len(removed) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", remove_then_die)
        with pytest.raises(KeyboardInterrupt), open_run(tmp_path, build_run({"seed": 2}), fresh=True):
            pass
    assert removed == ["steps", "pruned"]
    with pytest.raises(InputError, match="seed 1 → 2"), open_run(tmp_path, build_run({"seed": 2})):
        pass
    with open_run(tmp_path, build_run({"seed": 1})) as folder:
        assert not folder.finished("step")


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    halves = [
        ".result.json.ab12_x9z",
        "steps/.prepare.json.abcdefgh",
        ".pruned.12345678",
        ".pruned.12345678.old",
    ]
    kept = [".notes.markdown", "records.jsonl", ".lock"]
    for name in halves + kept:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if "pruned" in name:
            path.mkdir()
            path = path / "model.safetensors"
        path.write_text("half")
    with open_run(tmp_path, build_run({})):
        assert not any((tmp_path / name).exists() for name in halves)
        assert all((tmp_path / name).exists() for name in kept)
