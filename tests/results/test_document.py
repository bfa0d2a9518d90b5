from __future__ import annotations

import json

import pytest

from rankadaptor.errors import InputError
from rankadaptor.results import find_result_file, get_part, read_result
from tests.report.documents import make_document


def test_a_result_is_found_by_its_file_and_by_its_folder(tmp_path):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(make_document()))
    assert find_result_file(tmp_path) == find_result_file(file) == file
    assert read_result(tmp_path)["run"]["name"] == "pico-demo"


def test_a_missing_result_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="rankadaptor run"):
        read_result(tmp_path / "nowhere")
    (tmp_path / "quickstart.json").write_text("{}")
    with pytest.raises(InputError, match=r"quickstart\.json"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a result document"),
        ('{"schema": 1}', "not a result document"),
        ('{"schema": 2, "result": {}}', "schema 2, this version reads 1"),
        ('{"result": {}}', "no schema number"),
        ("{", r"result\.json:1"),
    ],
)
def test_a_file_that_is_no_result_is_named(tmp_path, content, message):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_result(tmp_path)


def test_a_missing_part_raises_its_sentence():
    document = {"schema": 1, "result": {"search": {"history": []}, "losses": None}}
    for keys in (("search", "history"), ("losses",), ("verdict", "gains"), ("losses", "dense")):
        with pytest.raises(InputError, match="Nothing here"):
            get_part(document, *keys, sentence="Nothing here.")
