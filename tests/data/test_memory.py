"""Rows from memory: tables, columns, data sets, iterators, and what is no source."""

from __future__ import annotations

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from rankadaptor.data import Row, Turn, load_rows
from rankadaptor.errors import InputError

COLUMNS = {"prompt": ["1+1=", "2+2="], "response": [" 2", " 4"], "id": [1, 2]}
ITEMS = [dict(zip(COLUMNS, values, strict=True)) for values in zip(*COLUMNS.values(), strict=True)]
ROWS = [Row("1+1=", " 2"), Row("2+2=", " 4")]


def test_tables_columns_data_sets_and_iterators_give_the_same_rows():
    dataset = datasets.Dataset.from_dict(COLUMNS)
    frame = pd.DataFrame(COLUMNS)
    for source in (
        COLUMNS,
        frame,
        pa.table(COLUMNS),
        dataset,
        dataset.to_iterable_dataset(),
        ITEMS,
        iter(ITEMS),
        (item for item in ITEMS),
    ):
        assert load_rows(source) == ROWS
    assert load_rows(frame["response"]) == [Row("", " 2"), Row("", " 4")]


def test_missing_cells_and_lists_in_a_table(tmp_path):
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "One."}]
    frame = pd.DataFrame({"text": ["a fox", None], "messages": [None, turns]})
    frame.to_parquet(tmp_path / "rows.parquet")
    chat = Row("", "", (Turn("user", "One?"), Turn("assistant", "One.")))
    for source in (frame, tmp_path / "rows.parquet", pd.read_parquet(tmp_path / "rows.parquet")):
        assert load_rows(source) == [Row("", "a fox"), chat]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "None is not a source of rows. Give a path"),
        (7, "a value of type int is not a source"),
        (b"text", "a value of type bytes is not a source"),
        (Row("p", "r"), "a value of type Row is not a source"),
        (
            datasets.DatasetDict(train=datasets.Dataset.from_dict(COLUMNS)),
            r"give one of them, data\['train'\]",
        ),
        ({"prompt": "a", "response": "b"}, r"for one row give a list, \[row\]"),
        ({"train": ITEMS, "test": ITEMS[:1]}, r"different lengths \(train 2, test 1\)"),
        ("The quick brown fox jumps over the lazy dog", "If it is a training text, give it in a list"),
        ("A fox. " * 60, "If it is a training text"),
        ("one line\nand another", "If it is a training text"),
    ],
)
def test_what_is_no_source_is_named(source, message):
    with pytest.raises(InputError, match=message):
        load_rows(source)
