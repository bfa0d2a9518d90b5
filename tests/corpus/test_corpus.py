from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

import pandas
import pytest

from rankadaptor.corpus import Corpus, Setting
from rankadaptor.corpus.table import COLUMNS
from rankadaptor.errors import BudgetError, CorpusError, InputError
from rankadaptor.space import Slot, Space
from tests.components.adapter.test_stored import write_schema_1
from tests.corpus.measured import SPACE, build_record, build_setting


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    made = Corpus.create(tmp_path / "meta")
    made.add_setting(build_setting())
    made.add_setting(build_setting("pico-held", held_out=True, data={"rows": "wiki"}))
    made.append(build_record(sequence_losses=(4.5, 3.75)))
    made.append(build_record(seed=1, loss=4.3))
    made.append(build_record(seed=2, loss=None, status="failed", error="NaN at step 3"))
    made.append(build_record(setting="pico-held"))
    return made


def test_what_is_written_is_read_back(corpus: Corpus) -> None:
    again = Corpus.load(corpus.folder)
    assert again.names() == ["pico-held", "pico-third"]
    assert again.names(held_out=True) == ["pico-held"]
    assert again.setting("pico-third") == build_setting()
    assert again.space("pico-third") == SPACE
    assert [record.seed for record in again.records("pico-third")] == [0, 1, 2]
    assert again.records("pico-third")[1:] == corpus.records("pico-third")[1:]
    assert len(again) == len(again.records()) == 4
    assert again.digest == corpus.digest


def test_the_table_has_the_documented_columns(corpus: Corpus) -> None:
    table = corpus.table()
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 4
    row = table[(table.setting == "pico-third") & (table.seed == 1)].iloc[0]
    assert row.gain == pytest.approx(-0.1)
    assert row["values"] == SPACE.reference().values
    assert row.source == "short"
    assert row.slots == ("block0", "block1", "block2")
    assert not row.held_out
    failed = table[table.status == "failed"].iloc[0]
    assert pandas.isna(failed.gain)
    assert pandas.isna(failed.loss)
    empty = Corpus.create(corpus.folder.parent / "empty").table()
    assert tuple(empty.columns) == COLUMNS


def test_the_settings_table_counts_records(corpus: Corpus) -> None:
    table = corpus.settings().set_index("setting")
    assert table.loc["pico-third", "records"] == 3
    assert table.loc["pico-third", "failed"] == 1
    assert table.loc["pico-third", "budget"] == SPACE.bounds[0]
    assert table.loc["pico-held", "held_out"]


def test_pandas_reads_the_records_in_one_line(corpus: Corpus) -> None:
    frame = pandas.read_json(corpus.folder / "records" / "pico-third.jsonl", lines=True)
    assert list(frame.seed) == [0, 1, 2]
    assert set(frame.schema) == {2}
    assert "sequence_losses" not in frame


def test_sequence_losses_lie_beside(corpus: Corpus) -> None:
    losses = Corpus.load(corpus.folder).read_sequence_losses("pico-third")
    assert losses == {(SPACE.reference().values, 0, 24): (4.5, 3.75)}
    path = corpus.folder / "losses" / "pico-third.jsonl"
    path.write_text('{"schema": 1}\n')
    with pytest.raises(CorpusError, match=r"pico-third\.jsonl:1: needs schema"):
        corpus.read_sequence_losses("pico-third")


def test_the_same_measurement_is_written_once(corpus: Corpus) -> None:
    again = Corpus.load(corpus.folder)
    assert not again.append(build_record())
    assert not again.append(build_record(loss=1.0))
    assert again.extend([build_record(), build_record(seed=7), build_record(steps=48)]) == 2
    assert len(Corpus.load(corpus.folder)) == 6


def test_unknown_settings_and_strange_values_are_refused(corpus: Corpus) -> None:
    with pytest.raises(
        InputError, match=r"setting 'other' is not in this corpus\. Known: pico-held, pico-third"
    ):
        corpus.append(build_record(setting="other"))
    with pytest.raises(InputError, match="2 values for 3 slots"):
        corpus.append(build_record(values=(1, 2)))
    with pytest.raises(BudgetError, match=r"not in the space of setting 'pico-third'.*too many"):
        corpus.append(build_record(values=(8, 8, 8)))
    assert len(Corpus.load(corpus.folder)) == 4


def test_a_bad_line_is_named_with_file_and_line(corpus: Corpus) -> None:
    path = corpus.folder / "records" / "pico-third.jsonl"
    lines = path.read_text().splitlines()
    for fault, message in [
        ("{oops", "not valid JSON"),
        (json.dumps(json.loads(lines[1]) | {"schema": 3}), "schema 3, this version reads 1 and 2"),
        (json.dumps(json.loads(lines[1]) | {"setting": "gone"}), "has no file in settings/"),
        (json.dumps(json.loads(lines[1]) | {"values": [64, 64, 64]}), "not in the space"),
        (json.dumps(json.loads(lines[1]) | {"status": "maybe"}), "allowed are ok, failed"),
    ]:
        path.write_text("\n".join([lines[0], fault, lines[2]]) + "\n")
        with pytest.raises(CorpusError, match=rf"records/pico-third\.jsonl:2: .*{message}"):
            Corpus.load(corpus.folder)


def test_an_incomplete_last_line_is_dropped_and_removed(corpus: Corpus) -> None:
    path = corpus.folder / "records" / "pico-third.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    again = Corpus.load(corpus.folder)
    assert [record.seed for record in again.records("pico-third")] == [0, 1]
    assert again.append(build_record(seed=2))
    assert len(Corpus.load(corpus.folder)) == 4


def test_settings_are_named_by_content(corpus: Corpus) -> None:
    assert build_setting("a").digest == build_setting("b").digest
    assert build_setting(pruned_loss=None).digest == build_setting().digest
    assert build_setting(recipe={"learning_rate": 1e-3}).digest != build_setting().digest
    assert not corpus.add_setting(build_setting())
    assert corpus.add_setting(build_setting(pruned_loss=5.5))
    assert Corpus.load(corpus.folder).setting("pico-third").pruned_loss == 5.5
    with pytest.raises(CorpusError, match=r"differs from the one given in recipe"):
        corpus.add_setting(build_setting(recipe={"learning_rate": 1e-3}))


def test_a_setting_held_out_stays_so(corpus: Corpus, tmp_path: Path) -> None:
    held = build_setting("pico-held", held_out=True, data={"rows": "wiki"})
    with pytest.raises(CorpusError, match=r"pico-held\.json: .* held_out=False, .* held_out=True"):
        corpus.add_setting(dataclasses.replace(held, held_out=False))
    assert not corpus.add_setting(held)
    assert corpus.add_setting(dataclasses.replace(held, pruned_loss=5.5))
    assert Corpus.load(corpus.folder).names(held_out=True) == ["pico-held"]
    other = Corpus.create(tmp_path / "other")
    other.add_setting(dataclasses.replace(held, held_out=False))
    for first, second in ((corpus, other), (other, corpus)):
        with pytest.raises(CorpusError, match="Give both files the same held_out") as raised:
            Corpus.load(first.folder, second.folder)
        assert all(str(each.folder) in str(raised.value) for each in (first, second))


def test_an_edited_setting_is_noticed(corpus: Corpus) -> None:
    path = corpus.folder / "settings" / "pico-third.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"recipe": {"learning_rate": 1.0}}))
    with pytest.raises(CorpusError, match=r"pico-third\.json: .*was edited"):
        Corpus.load(corpus.folder)
    path.write_text("{\n oops")
    with pytest.raises(CorpusError, match=r"pico-third\.json:2: not valid JSON"):
        Corpus.load(corpus.folder)
    path.write_text(json.dumps(data | {"schema": 9}))
    with pytest.raises(CorpusError, match="schema 9, this version reads 1"):
        Corpus.load(corpus.folder)


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 81])
def test_names_that_cannot_name_files_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="because it names files"):
        build_setting(name)


def test_setting_fields_are_checked() -> None:
    with pytest.raises(InputError, match="must be a dict"):
        build_setting(recipe=None)
    with pytest.raises(InputError, match=r"unknown fields \['note'\]"):
        Setting.from_json(build_setting().to_json() | {"note": 1})
    with pytest.raises(InputError, match=r"fields \['data'\] are missing"):
        Setting.from_json({key: value for key, value in build_setting().to_json().items() if key != "data"})


def test_a_folder_of_ones_own_joins_by_being_dropped_in(corpus: Corpus) -> None:
    own = Corpus.create(corpus.folder / "mine")
    own.add_setting(build_setting("mine-half", pruning={"ratio": 0.5}))
    own.append(build_record(setting="mine-half"))
    both = Corpus.load(corpus.folder)
    assert both.names() == ["mine-half", "pico-held", "pico-third"]
    assert len(both) == 5
    both.append(build_record(setting="mine-half", seed=3))
    assert len(Corpus.load(corpus.folder / "mine")) == 2
    records_only = corpus.folder / "more" / "records"
    records_only.mkdir(parents=True)
    line = json.dumps(build_record(seed=9).to_json())
    (records_only / "any-name.jsonl").write_text(line + "\n")
    assert len(Corpus.load(corpus.folder)) == 7


def test_several_folders_merge(corpus: Corpus, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = Corpus.create(tmp_path / "other")
    other.add_setting(build_setting())
    other.append(build_record())
    other.append(build_record(seed=5, sequence_losses=(1.0,)))
    with caplog.at_level(logging.WARNING):
        both = Corpus.load(corpus.folder, other.folder)
    assert len(both) == 5
    assert "other/records/pico-third.jsonl:1: the same measurement" in caplog.text
    assert len(both.read_sequence_losses("pico-third")) == 2
    assert Corpus.load([other.folder, corpus.folder]).digest == both.digest
    stranger = Corpus.create(tmp_path / "stranger")
    stranger.add_setting(build_setting(pruning={"ratio": 0.9}))
    with pytest.raises(CorpusError, match=r"differs in pruning\. Rename one of them"):
        Corpus.load(corpus.folder, stranger.folder)


def test_a_folder_that_is_no_corpus_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        Corpus.load(tmp_path / "absent")
    with pytest.raises(CorpusError, match="neither settings/ nor records/"):
        Corpus.load(tmp_path)
    with pytest.raises(CorpusError, match="no folder given"):
        Corpus.load([])


def test_a_setting_written_by_an_earlier_version_is_the_same(corpus: Corpus, tmp_path: Path) -> None:
    """Its space is of schema 1; collecting goes on in it, and its digest stays."""
    old = build_setting(space=write_schema_1(SPACE))
    other = Corpus.create(tmp_path / "other")
    other.add_setting(old)
    assert not other.add_setting(build_setting())
    assert other.add_setting(build_setting(pruned_loss=5.5))
    again = Corpus.load(other.folder).setting("pico-third")
    assert (again.space, again.digest, again.pruned_loss) == (old.space, old.digest, 5.5)
    assert len(Corpus.load(corpus.folder, other.folder)) == 4
    smaller = SPACE.to_json() | {"limits": {"adapter_parameters": SPACE.bounds[0] - 1}}
    with pytest.raises(CorpusError, match="differs from the one given in space"):
        other.add_setting(build_setting(space=smaller))


def test_the_digest_orders_labels_of_any_kind(tmp_path: Path) -> None:
    mixed = Space(
        slots=(
            Slot(
                name="one", component="type", modules=("a",), options=("dense", 4, (2, "k")), costs=(),
                coordinates=((0.0,), (1.0,), (2.0,)), block=0, kind="a",
            ),
        ),
        limits=(),
        references=(("dense", (0,)),),
    )  # fmt: skip
    digests = set()
    for order in ((0, 1, 2), (2, 0, 1)):
        made = Corpus.create(tmp_path / str(order[0]))
        made.add_setting(build_setting(space=mixed.to_json()))
        made.extend([build_record(values=(mixed.slots[0].options[choice],)) for choice in order])
        digests.add(Corpus.load(made.folder).digest)
        assert set(made.table()["values"]) == {("dense",), (4,), ((2, "k"),)}
    assert len(digests) == 1
