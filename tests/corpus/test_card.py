"""The data card of `meta_data/` says what the code does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from rankadaptor.corpus import Corpus, Record, Setting
from tests.space.shapes import build_linears

ROOT = Path(__file__).parents[2] / "meta_data"
CARD = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_field_of_a_record_and_a_setting_is_explained() -> None:
    for kind in (Record, Setting):
        for field in dataclasses.fields(kind):
            if field.name != "sequence_losses":
                assert f"`{field.name}`" in CARD, field.name


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_one, read_all, add = re.findall(r"```python\n(.*?)```", CARD, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"linears": build_linears(3)}
    exec(add, names)
    exec(read_all, names)
    exec(read_one.replace("meta_data/records/SETTING", "meta_data/mine/records/my-model-30"), names)
    assert len(names["table"]) == len(names["records"]) == 1


@pytest.mark.skipif(not (ROOT / "settings").is_dir(), reason="no corpus measured yet")
def test_the_corpus_in_the_repository_is_sound() -> None:
    corpus = Corpus.load(ROOT)
    assert len(corpus) > 0
    assert set(corpus.table().status) <= {"ok", "failed"}
