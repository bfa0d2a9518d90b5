from __future__ import annotations

import io

import pytest
from rich.console import Console

from rankadaptor.report import render_console
from tests.report.documents import make_document


def show(document) -> str:
    stream = io.StringIO()
    Console(file=stream, width=140).print(render_console(document))
    return stream.getvalue()


@pytest.mark.parametrize("outcome", ["better", "no difference", "worse"])
def test_the_terminal_shows_losses_accuracies_and_the_verdict(outcome):
    text = show(make_document(outcome=outcome))
    assert "3.3990" in text
    assert "winogrande" in text
    assert "uniform r=8" in text
    assert "5 pairs of 24-step fine-tunes" in text
    assert "Predictor: meta" in text


def test_few_items_are_one_line_in_place_of_a_table():
    document = make_document()
    for model in document["result"]["benchmarks"].values():
        model["piqa"]["n"] = 12
    text = show(document)
    assert "Too few items to compare models: 12 in some benchmarks" in text
    assert "winogrande" not in text


def test_an_unfinished_run_shows_what_is_missing():
    text = show({"schema": 1, "result": {}})
    assert "No losses" in text
    assert "No verdict yet" in text
