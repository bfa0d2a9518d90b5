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


def test_an_unfinished_run_shows_what_is_missing():
    text = show({"schema": 1, "result": {}})
    assert "No losses" in text
    assert "No verdict yet" in text
