"""The doctor: what it looks at, and what it calls missing."""

from __future__ import annotations

import importlib.metadata

import pytest

from rankadaptor import doctor


def find_check(checks, name):
    return next(check for check in checks if check.name == name)


def test_everything_is_looked_at(tmp_path):
    checks = doctor.examine(tracking=tmp_path / "mlruns")
    names = {check.name.split()[0] for check in checks}
    assert {
        "python",
        "learn2learn",
        "torch",
        "processor",
        "memory",
        "disk",
        "kit",
        "predictor",
        "mlflow",
    } <= names
    assert all(check.state in ("ok", "note", "missing") for check in checks)
    assert all(check.remedy for check in checks if check.state == "missing")
    assert find_check(checks, "torch").state != "missing"
    assert "bfloat16" in find_check(checks, "torch").found


def test_an_absent_and_an_old_package_are_missing(monkeypatch):
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: ["no-such-package>=1", "numpy>=999", "x; extra == 'y'"]
    )
    checks = list(doctor.check_packages())
    assert [(check.name, check.state) for check in checks] == [
        ("package no-such-package", "missing"),
        ("package numpy", "missing"),
    ]
    assert 'pip install "numpy>=999"' in checks[1].remedy


def test_the_store_in_use_is_looked_at_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check = doctor.check_tracking(None)
    assert (check.state, list(tmp_path.iterdir())) == ("ok", [])
    assert "mlruns/mlflow.db, made at the first run (the default)" in check.found
    (tmp_path / "file").write_text("no database" * 100)
    for target in (tmp_path / "file" / "mlruns", f"sqlite:///{tmp_path}/file"):
        assert doctor.check_tracking(target).state == "missing"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:SECRET@127.0.0.1:9")
    check = doctor.check_tracking(None)
    assert check.state == "missing"
    assert "http://127.0.0.1:9: no tracking server answers (Connection refused)" in check.found
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:SECRET@:9")
    assert "SECRET" not in str([check, doctor.check_tracking(None)])


def test_the_predictor_is_read(monkeypatch, tmp_path):
    from rankadaptor.predictor import storage

    assert doctor.check_predictor().state == "ok"
    monkeypatch.setattr(storage, "SHIPPED", tmp_path)
    assert doctor.check_predictor().state == "missing"


def test_an_index_that_does_not_answer_is_only_a_note(monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    check = doctor.check_index(timeout=1.0)
    assert (check.name, check.state) == ("package index", "note")


@pytest.mark.parametrize("place", ["127.0.0.1:9", "no-such-host.invalid"])
def test_an_index_s_password_is_never_shown(monkeypatch, place):
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:secret@{place}/simple")
    check = doctor.check_index(timeout=1.0)
    assert check.state == "note"
    assert "secret" not in str(check)


def test_a_small_disk_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED_GIGABYTES", 1e9)
    assert doctor.check_disk().state == "missing"
    assert "RANKADAPTOR_HOME" in doctor.check_disk().remedy


def test_the_table_cuts_no_address_and_reads_no_markup(capsys):
    from rankadaptor.cli.tables import show_checks

    place = f"sqlite:////{'folder/' * 30}mlflow.db"
    show_checks([doctor.Check("mlflow store", "missing", place, 'pip install "psycopg[binary]"')])
    shown = capsys.readouterr().out
    assert place in "".join(shown.split()).replace('pipinstall"psycopg[binary]"', "")
    assert "psycopg[binary]" in shown


def test_the_engine_is_started_and_missed_without_harm(monkeypatch, tmp_path):
    monkeypatch.delenv("RANKADAPTOR_LLAMA", raising=False)
    assert doctor.check_engine().state == "ok"
    assert "llama.cpp" in doctor.check_engine().found
    monkeypatch.setenv("RANKADAPTOR_LLAMA", str(tmp_path))
    check = doctor.check_engine()
    assert (check.name, check.state) == ("engine", "note")
    assert "no libllama" in check.found
