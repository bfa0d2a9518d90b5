"""The evidence document: whole from a whole corpus, honest about what is missing, no figure typed."""

from __future__ import annotations

import re
import time
from importlib import resources
from pathlib import Path

import pytest

from experiments.evidence import gather_evidence
from experiments.evidence.__main__ import main as fill
from experiments.evidence.page import TABLES, render_evidence, write_evidence
from rankadaptor.corpus import Corpus
from tests.documents import ROOT
from tests.experiments.evidence.planted import plant_corpus, plant_setting, write_study

DOCUMENT = ROOT / "docs/evidence.md"
TEMPLATE = resources.files("experiments.evidence").joinpath("evidence.md.j2").read_text("utf-8")
FIGURES = 9


def list_markers(text: str) -> list[str]:
    return re.findall(r"<!-- generated:([\w-]+) -->", text)


def strip_generated(text: str) -> str:
    text = re.sub(r"<!-- generated:([\w-]+) -->.*?<!-- /generated:\1 -->", "", text, flags=re.DOTALL)
    return re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("whole")
    corpus = Corpus.create(folder)
    for seed, name in enumerate(("one", "two")):
        plant_setting(corpus, name, seed=seed, spread=0.01 * seed, lengths=(25, 50, 100), held_out=bool(seed))
        write_study(corpus, name, seed=seed)
    return Corpus.load(folder)


def test_every_table_and_figure_is_made_from_a_whole_corpus(whole: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "docs" / "evidence.md"
    changed = write_evidence(whole, file=file)
    text = file.read_text("utf-8")
    assert set(changed) == set(list_markers(TEMPLATE))
    assert text.count("![") == FIGURES
    for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text):
        assert (file.parent / path).read_bytes().startswith(b"\x89PNG")
    assert "Not measured yet" not in text
    assert "No figure" not in text
    assert "nan" not in re.findall(r"[a-z]+", text)
    assert "two *" in text
    assert write_evidence(whole, file=file) == []


def test_tables_are_whole_and_say_what_the_corpus_holds(whole: Corpus) -> None:
    evidence = gather_evidence(whole)
    for build in TABLES.values():
        table = build(evidence)
        assert all(len(row) == len(table.header) for row in table.rows), table.name
    blocks = render_evidence(evidence)
    assert "| one | 0.0005: " in blocks["rates"]
    assert "| 0.002 | 0.002 |" in blocks["rates"]
    assert blocks["exponents"].count("\n| one |") == 3
    assert blocks["own-rates"].count("1.00 (1.00 to 1.00)") == 2
    assert "use uniform" in blocks["regimes"]
    assert "**allocation matters**" in blocks["regimes"]
    assert "1.00" in blocks["benchmarks"]
    assert "| guessing |" in blocks["accuracies"]
    assert "yes" in blocks["curves"]
    assert "LLaMA-7B" in blocks["published"]


def test_what_is_missing_is_said_and_nothing_is_made_up(tmp_path: Path) -> None:
    corpus = plant_corpus(tmp_path / "corpus", allocations=12, seeds=1)
    file = tmp_path / "evidence.md"
    write_evidence(corpus, file=file)
    text = file.read_text("utf-8")
    for words in (
        "Not measured yet: no setting has the same allocations at two lengths.",
        "Not measured yet: no setting has models scored on benchmarks.",
        "No figure of exponents: no setting has several.",
        "| planted-0 | undecided | not repeated over seeds | – |",
    ):
        assert words in text


def test_empty_settings_do_not_stop_the_report(tmp_path: Path) -> None:
    corpus = plant_corpus(tmp_path, allocations=0, seeds=1)
    blocks = render_evidence(gather_evidence(corpus))
    assert "no allocation measured" in blocks["regimes"]


def test_two_thousand_records_take_seconds(tmp_path: Path) -> None:
    plant_corpus(tmp_path / "corpus", 20, spread=0.004, allocations=70)
    start = time.perf_counter()
    corpus = Corpus.load(tmp_path / "corpus")
    assert len(corpus) > 2000
    write_evidence(corpus, file=tmp_path / "evidence.md")
    assert time.perf_counter() - start < 60


def test_no_figure_is_typed_into_the_document() -> None:
    for text in (TEMPLATE, DOCUMENT.read_text("utf-8")):
        assert re.findall(r"\d", strip_generated(text)) == []
    assert list_markers(DOCUMENT.read_text("utf-8")) == list_markers(TEMPLATE)


def test_the_committed_document_is_what_the_committed_records_give(tmp_path: Path) -> None:
    evidence = gather_evidence(Corpus.load(ROOT / "meta_data"))
    text = DOCUMENT.read_text("utf-8")
    assert evidence.digest in text, "meta_data/ has changed since docs/evidence.md was made: `make evidence`"
    for name, block in render_evidence(evidence).items():
        assert f"<!-- generated:{name} -->\n{block.strip()}\n<!-- /generated:{name} -->" in text, name


def test_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_corpus(tmp_path / "corpus", allocations=12, seeds=1)
    file = tmp_path / "out.md"
    words = ["experiments.evidence", "--corpus", str(tmp_path / "corpus"), "--into", str(file)]
    monkeypatch.setattr("sys.argv", words)
    fill()
    assert "regimes" in capsys.readouterr().out
    assert file.exists()
    fill()
    assert "nothing changed" in capsys.readouterr().out
