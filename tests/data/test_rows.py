"""Rows: forms, files, splits, and what a broken file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets.exceptions import DatasetGenerationError

from rankadaptor.data import Row, digest_rows, load_rows
from rankadaptor.errors import InputError, StorageError

TEXTS = [f"text number {number}" for number in range(20)]


def write_lines(path: Path, items: list[object]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_three_forms_of_a_row():
    rows = load_rows(
        [
            {"prompt": "Question: one?", "response": "yes", "extra": 1},
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            {"instruction": "Sing.", "output": "la"},
            {"text": "plain"},
            "also plain",
            Row("p", "r"),
        ]
    )
    assert [row.response for row in rows] == ["yes", "3", "la", "plain", "also plain", "r"]
    assert "### Input:\n1 2\n" in rows[1].prompt
    assert "### Input" not in rows[2].prompt
    assert rows[2].prompt.endswith("### Response:\n")
    assert [row.is_text for row in rows] == [False, False, False, True, True, False]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".txt", ".parquet"])
def test_files_give_the_same_rows(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        write_lines(path, [{"text": text} for text in TEXTS])
    elif suffix == ".json":
        path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    elif suffix == ".txt":
        path.write_text("\n\n".join(TEXTS))
    else:
        import pandas as pd

        pd.DataFrame({"text": TEXTS}).to_parquet(path)
    assert load_rows(path) == load_rows(str(path)) == [Row("", text) for text in TEXTS]


def test_limit_and_skip_make_disjoint_splits_that_cover_everything():
    held_out, train = load_rows(TEXTS, limit=5, seed=3), load_rows(TEXTS, skip=5, seed=3)
    assert len(held_out) == 5
    assert {row.response for row in held_out + train} == set(TEXTS)
    assert load_rows(TEXTS, limit=5, skip=5, seed=3) == train[:5]
    assert load_rows(TEXTS, limit=5, seed=4) != held_out
    assert load_rows(TEXTS, limit=99, seed=3) == held_out + train


def test_a_source_is_remarked_on_once(tmp_path, caplog):
    path = write_lines(tmp_path / "rows.jsonl", [{"text": text} for text in [*TEXTS, ""]])
    for _ in range(3):
        load_rows(path, limit=99, seed=3)
        load_rows(load_rows(path), skip=2, limit=99)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "1 of 21 rows have nothing to learn and are left out",
        "only 20 rows for limit=99 after skip=0",
        "only 18 rows for limit=99 after skip=2",
    ]


def test_rows_without_text_are_left_out(caplog):
    rows = load_rows([{"instruction": "Sing.", "output": " "}, "kept"])
    assert rows == [Row("", "kept")]
    assert "1 of 2 rows have nothing to learn" in caplog.text


def test_digest_depends_on_content_and_order():
    rows = load_rows(TEXTS)
    assert digest_rows(rows) == digest_rows(load_rows(TEXTS))
    assert digest_rows(rows) != digest_rows(rows[::-1])
    assert digest_rows([Row("ab", "c")]) != digest_rows([Row("a", "bc")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "fine"}\n{"text": "torn', "rows.jsonl:2: not valid JSON"),
        ('{"text": "fine"}\n\n{"txt": "x"}\n', "rows.jsonl:3: keys are txt"),
        ('{"text": "fine"}\n{"text": 7}\n', "rows.jsonl:2: text is int instead of text"),
        ('{"prompt": "q", "response": null}\n', "rows.jsonl:1: response is missing"),
        ('{"instruction": "q"}\n', "rows.jsonl:1: output is missing"),
        ('{"text": "fine"}\n{"text": "cut \\ud83d"}\n', "rows.jsonl:2: text has half a character"),
        ('"cut \\ud83d"\n', "rows.jsonl:1 has half a character"),
        ("[1, 2]\n", "rows.jsonl:1: list is not a row"),
        ("", "rows.jsonl: no rows with text"),
        ("\n\n", "rows.jsonl: no rows with text"),
    ],
)
def test_faults_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_rows(path)
    assert message in str(caught.value)


def test_faults_of_other_files(tmp_path):
    (tmp_path / "rows.json").write_text('"not a list"')
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 but torn")
    (tmp_path / "rows.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "rows.xlsx").write_text("text\n")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "rows.json": "str instead of a list",
        "rows.parquet": "not a readable Parquet file",
        "rows.txt": "not UTF-8",
        "rows.xlsx": "files of rows end with .jsonl",
        "folder": "no file of rows",
        "none*.jsonl": "no file matches",
        "none.jsonl": "no such file",
        "nothing": "Give kit:NAME",
    }.items():
        with pytest.raises(InputError, match=message):
            load_rows(tmp_path / name)


@pytest.mark.parametrize("error", [RuntimeError("Dataset scripts"), DatasetGenerationError("torn")])
def test_a_hub_set_that_cannot_be_loaded_is_named(monkeypatch, error):
    def load_dataset(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(StorageError, match="hub:somebody/rows: cannot be loaded"):
        load_rows("hub:somebody/rows")


def test_unknown_kit_names_and_senseless_numbers():
    with pytest.raises(InputError, match="Did you mean 'alpaca'"):
        load_rows("kit:alpacca")
    with pytest.raises(InputError, match="give it as the model"):
        load_rows("kit:smollm2-135m")
    with pytest.raises(InputError, match="limit=0"):
        load_rows(TEXTS, limit=0)
    with pytest.raises(InputError, match="skip=-1"):
        load_rows(TEXTS, skip=-1)
    with pytest.raises(InputError, match="skip=20 leaves none of its 20 rows"):
        load_rows(TEXTS, skip=20)
    with pytest.raises(InputError, match="no rows"):
        load_rows([])
