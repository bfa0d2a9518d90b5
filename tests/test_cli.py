"""The command line: every verb, exit codes, and what goes to stdout and stderr."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rankadaptor import __version__
from rankadaptor.cli import main
from rankadaptor.config import load_run

VERBS = (
    "init", "plan", "run", "collect", "meta-train", "migrate", "benchmark", "evaluate", "export", "generate",
    "methods",
    "report", "doctor",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"rankadaptor {verb}" in capsys.readouterr().out


def test_help_lists_all_verbs_and_version_is_shown(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"rankadaptor {__version__}"


def test_the_version_is_the_installed_one():
    import importlib.metadata

    assert importlib.metadata.version("rankadaptor") == __version__


def test_init_writes_a_file_that_plan_reads(tmp_path, capsys):
    path = tmp_path / "first.yaml"
    assert main(["init", str(path), "--output", str(tmp_path / "out")]) == 0
    assert "rankadaptor plan" in capsys.readouterr().out
    config = load_run(path)
    assert (config.name, config.output, config.model) == ("first", str(tmp_path / "out"), "kit:smollm2-135m")
    assert main(["plan", str(path), "--set", "search.evaluations=3", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert next(step for step in plan["steps"] if step["name"] == "search")["runs"] == 3


def test_init_does_not_overwrite_without_force(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("seed: 7\n")
    assert main(["init", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "seed: 7\n"
    assert main(["init", str(path), "--force", "--name", "again"]) == 0
    assert load_run(path).name == "again"


def test_init_takes_a_pruned_folder_as_already_pruned(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"rankadaptor": {"schema": 1}}))
    assert main(["init", str(tmp_path / "run.yaml"), "--model", str(tmp_path)]) == 0
    assert load_run(tmp_path / "run.yaml").prune is None


def test_plan_shows_a_table_and_what_it_rests_on(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("name: table\n")
    assert main(["plan", str(path)]) == 0
    text = capsys.readouterr().out
    for word in ("134,515,008", "search", "confirm", "GB", "GFLOP/s", "time"):
        assert word in text


def test_faults_go_to_stderr_without_a_traceback_and_exit_2(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("serch: {}\nseed: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "rankadaptor", "run", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "2 faults" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_usage_error_exits_2(capsys):
    assert main(["run"]) == 2
    assert main(["fly"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_defect_keeps_its_traceback(tmp_path, monkeypatch):
    import rankadaptor.planning

    def break_down(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(rankadaptor.planning, "estimate_job", break_down)
    path = tmp_path / "run.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(ZeroDivisionError):
        main(["plan", str(path)])


def test_an_interruption_exits_130_and_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    import rankadaptor.planning

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(rankadaptor.planning, "estimate_job", interrupt)
    path = tmp_path / "run.yaml"
    path.write_text("seed: 1\n")
    assert main(["plan", str(path)]) == 130
    assert "continues" in capsys.readouterr().err


def test_doctor_reports_and_exits_1_only_if_something_needed_is_missing(tmp_path, monkeypatch, capsys):
    from rankadaptor import doctor

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "examine", lambda network: [doctor.Check("python", "ok", "3.11")])
    assert main(["doctor"]) == 0
    assert "python" in capsys.readouterr().out
    monkeypatch.setattr(
        doctor, "examine", lambda network: [doctor.Check("disk", "missing", "0 GB", "Free space.")]
    )
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["remedy"] == "Free space."


def test_evaluate_asks_for_a_finished_run(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(f"output: {tmp_path / 'out'}\nevaluate: {{models: [pruned]}}\n")
    assert main(["evaluate", str(path)]) == 2
    assert "rankadaptor run" in capsys.readouterr().err


def test_report_of_a_run_that_has_not_finished(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "rankadaptor run" in capsys.readouterr().err


def test_migrate_lists_what_it_converted_and_names_a_bad_line(tmp_path, capsys):
    from tests.corpus.test_record import OLD

    path = tmp_path / "records" / "pico-third.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(OLD | {"seed": seed}) + "\n" for seed in range(3)))
    assert main(["migrate", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"{path}: 3 converted, 0 kept" in shown
    assert "3 records converted, 0 had this schema already" in shown
    assert {json.loads(line)["schema"] for line in path.read_text().splitlines()} == {2}
    assert main(["migrate", str(tmp_path)]) == 0
    assert f"{path}: 0 converted, 3 kept" in capsys.readouterr().out

    path.write_text(json.dumps(OLD) + "\n" + json.dumps(OLD | {"seed": "first"}) + "\n")
    assert main(["migrate", str(tmp_path)]) == 2
    assert f"error: {path}:2: seed='first': must be a whole number" in capsys.readouterr().err
    assert main(["migrate", str(tmp_path / "absent")]) == 2
