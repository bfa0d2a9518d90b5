from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from rankadaptor.card import render_card
from rankadaptor.errors import InputError, StorageError
from rankadaptor.report import render_console, render_page, write_report
from rankadaptor.results.scores import explain_few_items
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
        self.tables: list[bool] = []  # whether each stands in a box that scrolls
        self.boxes: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append(bool(self.boxes) and self.boxes[-1] == "scroll")
        if tag not in VOID:
            self.open.append(tag)
            self.boxes.append(dict(attrs).get("class") or "")
        for name, value in attrs:
            if name == "id":
                self.identifiers.append(value)
            if name in ("href", "src", "xlink:href", "data", "action"):
                (self.anchors if value.startswith("#") else self.fetched).append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()
            self.boxes.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.boxes.pop()

    def handle_data(self, data):
        self.text.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


def make_bare_document(*, outcome: str = "no difference", keep: tuple[str, ...] = ()) -> dict:
    """Make a document without what figures are drawn from, which take most of the time."""
    document = make_document(n_blocks=2, outcome=outcome)
    result = document["result"]
    for part in {"space", "benchmarks", "benchmark_differences"} - set(keep):
        del result[part]
    del result["search"]["history"]
    for run in result["recovered"].values():
        run["curve"] = []
    return document


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
        "No difference from uniform r=8 was found in 24-step fine-tunes", "What was run", "Use the result",
        "Held-out loss after recovery", "Zero-shot accuracy",
        "Paired differences", "Ranks over depth", "Evaluations of the search",
        "The model before and after pruning",
        "Tuning of the recipe", "Recipe of every fine-tune", "Cost of the run", "How to reproduce",
        "Versions and machine",
    ]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert page.count("<figure") == 5


def test_tables_are_readable_by_machines_that_read_aloud(page):
    assert page.count("<table") == page.count("<caption>") == 13
    assert '<th scope="col">' in page
    assert '<th scope="row">' in page
    assert page.count("<svg") == page.count('role="img" aria-label=')
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page


def test_it_fits_a_narrow_screen(page):
    checker = check(page)
    assert checker.tables == [True] * 13
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    sticky = re.search(r"th:first-child, td:first-child \{([^}]*)\}", page)
    assert "position: sticky" in sticky[1]
    assert "left: 0" in sticky[1]
    assert "background: var(--page)" in sticky[1]
    assert page.count('<div class="wide"><svg') == page.count('<div class="narrow"><svg') == 5
    size = r'<svg[^>]*viewBox="0 0 ([\d.]+) '
    for wide, narrow in re.findall(f'"wide">{size}.*?"narrow">{size}', page, re.DOTALL):
        assert float(narrow) < 270 < 500 < float(wide)  # points


def test_it_says_what_was_run_over_which_length_with_which_predictor(page):
    text = " ".join(" ".join(check(page).text).split())
    for words in (
        "meta, trained on a corpus", "12 allocations measured by 24-step fine-tunes",
        "5 pairs of 24-step fine-tunes on fresh seeds (the recovery has 100 steps)",
        "100 steps for each of uniform, searched, random; one seed", "float32 on cpu, 1 thread a process",
        "843,776 tokens trained in 1 h 32 min", "21 November 2026", "rankadaptor 0.1.0",
        "Check out the code at abcdef012345",
    ):  # fmt: skip
        assert words in text, words
    assert "2026-11-21T" not in text
    assert '<time datetime="2026-11-21T11:05:10+00:00">' in page


def test_it_shows_how_to_use_what_the_verdict_recommends(page):
    assert "adapters/uniform" in page
    better = render_page(make_bare_document(outcome="better"))
    assert "adapters/searched" in better
    assert "merge_and_unload" in better
    assert "adapters/" not in render_page({"schema": 1, "result": {}})


def test_a_predictor_in_place_of_another_is_seen_on_page_card_and_terminal():
    document = make_bare_document()
    document["result"]["search"]["predictor"] = "ridge"
    shown = io.StringIO()
    Console(file=shown, width=400).print(render_console(document))
    for text in (render_page(document), render_card(document, adapter="uniform"), shown.getvalue()):
        assert "ridge instead of the requested meta" in text


def test_an_adapter_trained_over_quantised_linears_says_so():
    document = make_bare_document()
    assert "was trained over" not in render_page(document)
    document["result"]["compute"]["quantise"] = "nf4"
    for text in (render_page(document), render_card(document, adapter="uniform")):
        assert "The adapter was trained over frozen linears in nf4." in text


def test_an_installed_package_is_named_by_its_version():
    document = make_bare_document()
    document["run"]["commit"] = "unknown"
    page = render_page(document)
    assert "Install rankadaptor 0.1.0" in page
    assert "unknown" not in page
    del document["environment"]["rankadaptor"]
    assert "does not name the version" in render_page(document)


def test_benchmarks_of_few_items_are_folded_away_behind_a_sentence():
    document = make_bare_document(keep=("benchmarks",))
    assert explain_few_items(document["result"]["benchmarks"]) == ""
    for model in document["result"]["benchmarks"].values():
        for score in model.values():
            if isinstance(score, dict):
                score |= {"n": 12, "standard_error": 0.149}
    page = render_page(document)
    check(page)
    assert "Too few items to compare models: 12 per benchmark; at least 500 are needed" in page
    assert "One standard error is up to 15 points" in page
    assert page.index("Too few items") < page.index("<details>") < page.index('id="table-accuracy"')


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


def test_a_password_in_an_older_result_is_not_shown():
    document = make_bare_document()
    document["run"]["config"]["track"] = {"uri": "http://user:SECRET@host:5099"}
    page = render_page(document)
    assert "host:5099" in page
    assert "SECRET" not in page


def test_names_from_the_run_are_escaped():
    document = make_bare_document()
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
