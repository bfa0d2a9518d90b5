"""What is measured beside the records: read whole, refused with the place of the fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.corpus import Corpus, Study
from rankadaptor.corpus.studies import add_to_study
from rankadaptor.errors import CorpusError, InputError
from tests.corpus.measured import SPACE, build_setting

UNIFORM = list(SPACE.reference().values)
WHOLE: dict[str, Any] = {
    "schema": 1,
    "setting": "pico-third",
    "learning_rates": [{"learning_rate": 1e-3, "steps": 24, "seed": 0, "loss": 4.2}],
    "exponents": [
        {"exponent": 0.5, "learning_rate": 1e-3, "values": UNIFORM, "seed": 0, "loss": 4.1,
         "loss_uniform": 4.2}
    ],
    "rates_by_allocation": [{"values": UNIFORM, "learning_rate": 1e-3, "seed": 0, "loss": None}],
    "curve": [{"steps": 10, "tokens": 1000, "loss": 4.3}],
    "benchmarks": [
        {"values": UNIFORM, "seed": 0, "loss": 4.0, "role": "uniform",
         "scores": {"boolq": {"value": 0.6, "stderr": 0.02}}}
    ],
}  # fmt: skip


def write_study(folder: Path, content: dict[str, Any]) -> Corpus:
    corpus = Corpus.create(folder)
    corpus.add_setting(build_setting())
    path = folder / "studies" / "pico-third.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return Corpus.load(folder)


def test_a_whole_study_is_read(tmp_path: Path) -> None:
    study = write_study(tmp_path, WHOLE).studies("pico-third")
    assert study.exponents[0].gain == pytest.approx(0.1)
    assert study.rates_by_allocation[0].gain is None
    assert study.curve[0].tokens == 1000
    assert study.benchmarks[0].scores["boolq"].stderr == 0.02


def test_any_part_and_the_whole_file_may_be_missing(tmp_path: Path) -> None:
    corpus = write_study(tmp_path, {"schema": 1, "setting": "pico-third"})
    assert corpus.studies("pico-third") == Study("pico-third")
    (tmp_path / "studies" / "pico-third.json").unlink()
    assert corpus.studies("pico-third") == Study("pico-third")
    with pytest.raises(InputError, match="not in this corpus"):
        corpus.studies("other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"setting": "other"}, "same name"),
        ({"speeds": []}, "unknown keys"),
        ({"curve": [{"steps": 10, "loss": 4.3}]}, r"curve\[0\].*tokens"),
        ({"learning_rates": [{"learning_rate": "fast", "loss": 1.0}]}, r"rates\[0\].learning_rate='fast'"),
        ({"curve": [{**WHOLE["curve"][0], "values": [999]}]}, r"\[0\].values: 1 values"),
        ({"benchmarks": [{**WHOLE["benchmarks"][0], "role": "good"}]}, "allowed are uniform, best, worst"),
        ({"benchmarks": [{**WHOLE["benchmarks"][0], "scores": {"boolq": {"value": 60}}}]}, "share of 1"),
    ],
)  # fmt: skip
def test_faults_are_named_with_file_and_entry(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    corpus = write_study(tmp_path, WHOLE | change)
    with pytest.raises(CorpusError, match=message) as caught:
        corpus.studies("pico-third")
    assert "pico-third.json" in str(caught.value)


def test_parts_are_added_and_nothing_measured_is_lost(tmp_path: Path) -> None:
    trial = {"learning_rate": 1e-3, "loss": 2.0}
    add_to_study(tmp_path, "one", {"learning_rates": [trial], "curve": []})
    add_to_study(tmp_path, "one", {"learning_rates": [], "benchmarks": [{"role": "uniform"}]})
    file = tmp_path / "studies" / "one.json"
    written = json.loads(file.read_text())
    assert written["learning_rates"] == [trial]
    assert written["benchmarks"] == [{"role": "uniform"}]
    file.write_text("[1]")
    with pytest.raises(CorpusError, match=r"one\.json.*nothing was written"):
        add_to_study(tmp_path, "one", {"curve": []})
    assert file.read_text() == "[1]"
