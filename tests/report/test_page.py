from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from rankadaptor.errors import InputError, StorageError
from rankadaptor.report import render_page, write_report
from tests.report.documents import make_document

VOID = {"meta", "link", "br", "img", "input", "hr"}
# Tables and figures meet every missing part in their own tests; here it is about their place in the page.
PARTS = ("space", "search", "verdict", "benchmarks")


class Checker(HTMLParser):
    """Notes unclosed elements, identifiers and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []
        self.fetched: list[str] = []
        self.anchors: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.identifiers.append(value)
            if name in ("href", "src", "xlink:href", "data", "action"):
                (self.anchors if value.startswith("#") else self.fetched).append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def page():
    return render_page(make_document())


def test_a_page_is_whole_and_needs_no_network(page):
    checker = check(page)
    assert checker.fetched == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page
    assert len(checker.identifiers) == len(set(checker.identifiers))
    assert {anchor[1:] for anchor in checker.anchors} <= set(checker.identifiers)


def test_the_verdict_comes_first_and_all_parts_follow(page):
    text = " ".join(check(page).text)
    order = [
        "No difference from uniform r=8 was found", "Held-out loss after recovery", "Zero-shot accuracy",
        "Paired differences", "Ranks over depth", "Evaluations of the search", "What pruning changed",
        "Tuning of the recipe", "Recipe of every fine-tune", "What the run cost", "How to reproduce",
        "Versions and machine",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert page.count("<figure") == 5


def test_tables_are_readable_by_machines_that_read_aloud(page):
    assert page.count("<table") == page.count("<caption>") == 11
    assert '<th scope="col">' in page
    assert '<th scope="row">' in page
    assert page.count("<svg") == page.count('role="img" aria-label=')
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_part_leaves_a_sentence(missing):
    document = make_document(n_blocks=2)
    del document["result"][missing]
    page = render_page(document)
    check(page)
    if missing != "verdict":
        assert 'class="missing"' in page


def test_a_run_that_hardly_started_still_has_a_page():
    page = render_page({"schema": 1, "result": {}})
    check(page)
    assert "No verdict yet" in page
    assert "<svg" not in page


def test_names_from_the_run_are_escaped():
    document = make_document()
    document["run"]["name"] = "<script>alert(1)</script>"
    assert "<script" not in render_page(document)


def test_the_report_lies_beside_the_result(tmp_path):
    unfinished = json.dumps({"schema": 1, "result": {}})
    (tmp_path / "result.json").write_text(unfinished)
    (tmp_path / "quickstart.json").write_text(unfinished)
    assert write_report(tmp_path) == tmp_path / "report.html"
    assert write_report(tmp_path / "quickstart.json") == tmp_path / "quickstart.html"
    assert write_report(tmp_path, output=tmp_path / "sub" / "page.html").is_file()
    assert write_report(tmp_path, output=tmp_path / "sub") == tmp_path / "sub" / "report.html"


def test_the_same_result_gives_the_same_page():
    document = make_document(n_blocks=2)
    assert render_page(document) == render_page(document)


def test_a_missing_result_or_an_unwritable_place_is_an_error_to_act_on(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        write_report(tmp_path / "absent")
    (tmp_path / "result.json").write_text('{"schema": 1, "result": {}}')
    with pytest.raises(StorageError):
        write_report(tmp_path, output=tmp_path / "result.json" / "page.html")
