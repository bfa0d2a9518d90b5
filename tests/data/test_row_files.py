"""Files of rows as other tools write them: encodings, kinds, compression, folders, patterns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import datasets
import pandas as pd
import pytest

from rankadaptor.data import Row, load_rows
from rankadaptor.errors import InputError

ITEMS = [{"prompt": "Où est la gare ?", "response": " À côté."}, {"prompt": "2+2=", "response": " 4"}]
ROWS = [Row(item["prompt"], item["response"]) for item in ITEMS]
LINES = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in ITEMS)
TABLE = 'prompt,response\n"Où est la gare ?"," À côté."\n"2+2="," 4"\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.jsonl", LINES.encode("utf-8-sig")),
        ("utf16.jsonl", LINES.encode("utf-16")),
        ("utf16-unmarked.jsonl", LINES.encode("utf-16-le")),
        ("windows.jsonl", LINES.replace("\n", "\r\n").encode("utf-8-sig")),
        ("UPPER.JSONL", LINES.encode()),
        ("rows.ndjson", LINES.encode()),
        ("rows.jsonl.gz", gzip.compress(LINES.encode("utf-8-sig"), mtime=0)),
        ("lines_in.json", LINES.encode()),
        ("bom.json", json.dumps(ITEMS).encode("utf-8-sig")),
        ("wrapped.json", json.dumps({"version": "1", "data": ITEMS}).encode()),
        ("columns.json", json.dumps({key: [each[key] for each in ITEMS] for key in ITEMS[0]}).encode()),
        ("rows.csv", TABLE.encode("utf-8-sig")),
        ("semicolons.csv", TABLE.replace('","', '";"').replace(",r", ";r").encode("utf-16")),
        ("rows.TSV", TABLE.replace('","', '"\t"').replace(",r", "\tr").encode()),
    ],
)
def test_what_is_unambiguous_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert load_rows(tmp_path / name) == ROWS


def test_texts_lose_the_mark_and_line_ends(tmp_path):
    (tmp_path / "bom.txt").write_bytes("first line\r\nsecond line\r\n".encode("utf-8-sig"))
    assert load_rows(tmp_path / "bom.txt") == [Row("", "first line"), Row("", "second line")]
    (tmp_path / "one.json").write_text('{"text": "a single row"}\n')
    assert load_rows(tmp_path / "one.json") == [Row("", "a single row")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "latin1.jsonl",
            LINES.encode("latin-1"),
            r"latin1.jsonl:1: not UTF-8 text \(byte 0xf9\); .* Latin-1",
        ),
        (
            "quotes.txt",
            "one\n“two”\n".encode("cp1252"),
            r"quotes.txt:2: .*Windows-1252.*iconv -f CP1252 -t UTF-8",
        ),
        ("rows.json", "[\n{}é".encode("latin-1"), "rows.json:2: not UTF-8"),
        ("torn.json", LINES[:-9].encode(), "torn.json:2: not valid JSON"),
        (
            "list.jsonl",
            json.dumps(ITEMS, indent=1).encode(),
            "list.jsonl:1: .*If the file is one JSON list, name it .json",
        ),
        ("deep.json", b"[" * 100_000, "deep.json: not usable JSON"),
        ("torn.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-12], "not a whole compressed file"),
        ("no.jsonl.gz", LINES.encode(), "not a whole compressed file"),
        (
            "packed.jsonl",
            gzip.compress(LINES.encode(), mtime=0),
            "holds .gz data, .* name it packed.jsonl.gz",
        ),
        ("zipped.csv", b"PK\x03\x04rest", "holds .zip data, not text: unpack it, or save it as .csv"),
        ("table.csv", b"PAR1rest", "holds .parquet data, .* name it table.csv.parquet"),
        ("cloned.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer.*git lfs pull"),
        ("cloned.parquet", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (
            "twice.jsonl",
            b'{"prompt":"a","prompt":"b","response":"c"}',
            "jsonl:1: .*'prompt' is given twice",
        ),
        ("twice.json", b'[{"prompt":"a","prompt":"b","response":"c"}]', "'prompt' is given twice"),
        ("twice.csv", b"prompt,prompt,response\na,b,c\n", "twice.csv:1: two columns are named 'prompt'"),
        ("ragged.csv", b"prompt,response\na,b,c\n", "ragged.csv:2: 3 values, but the first line names 2"),
        ("open.csv", b'prompt,response\n"a,b\n', "open.csv:2: not a table"),
        ("empty.csv", b"", "no rows with text"),
        ("empty.json", b"", "empty.json:1: not valid JSON"),
    ],
)
def test_what_cannot_be_read_is_named_with_line_and_remedy(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_rows(tmp_path / name)


def test_folders_and_patterns(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, item in enumerate(ITEMS):
        pd.DataFrame([item]).to_parquet(parts / f"part-{number}.parquet")
    (parts / "_SUCCESS").touch()
    saved = datasets.Dataset.from_list(ITEMS)
    saved.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict(train=saved).save_to_disk(tmp_path / "both")
    for source in (
        parts,
        f"{parts}/*.parquet",
        "~/parts/part-?.parquet",
        "~/saved",
        tmp_path / "both" / "train",
    ):
        assert load_rows(source) == ROWS
    with pytest.raises(InputError, match=r"data set of the parts train. Give one of them, .*both/train"):
        load_rows(tmp_path / "both")
    Path(parts / "more.jsonl").write_text(LINES)
    with pytest.raises(InputError, match=r"several kinds \(.jsonl, .parquet\)"):
        load_rows(parts)
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="not a data set that save_to_disk wrote"):
        load_rows("~/saved")
