"""The kit's rows, looked at."""

from __future__ import annotations

import pytest

from rankadaptor import kit
from rankadaptor.errors import InputError
from rankadaptor.kit.texts import _pick_option

COUNTS = {
    "alpaca": 999, "commonsense": 147_580, "boolq-passages": 7929, "boolq-passages-heldout": 2219,
    "lambada": 5151, "coqa": 499, "squad": 803, "c4": 300, "wiki": 30,
}  # fmt: skip


def test_every_name_is_counted_here():
    assert set(COUNTS) == set(kit.ROW_NAMES)


def test_the_right_option_is_found_even_if_the_question_looks_like_one():
    query = "Question: Which is it?\n A. not this line\nreally\n A. one\n B. two words\nAnswer:"
    assert _pick_option(query, ["A", "B"], 1) == "two words"
    assert _pick_option(query, ["A", "B"], 0) == "one"


def test_limits_are_checked():
    with pytest.raises(InputError, match="limit=0"):
        kit.load_kit_rows("wiki", limit=0)


@pytest.mark.kit
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_rows_are_complete(name):
    rows = kit.load_kit_rows(name)
    assert len(rows) == COUNTS[name]
    assert all(set(row) == {"prompt", "response"} for row in rows)
    assert all(bool(row["prompt"]) == (name in ("alpaca", "commonsense")) for row in rows)
    if name != "alpaca":
        assert all(row["response"].strip() for row in rows)


@pytest.mark.kit
def test_held_out_passages_share_nothing_with_training():
    train = {row["response"] for row in kit.load_kit_rows("boolq-passages")}
    asked = {row["prompt"].rpartition("\nQuestion: ")[0] for row in kit.load_kit_rows("commonsense")}
    for row in kit.load_kit_rows("boolq-passages-heldout"):
        assert row["response"] not in train
        assert row["response"] not in asked


@pytest.mark.kit
def test_answers_are_among_the_options():
    for row in kit.load_kit_rows("commonsense", limit=500, seed=1):
        options = [line.partition(". ")[2].strip() for line in row["prompt"].splitlines()]
        assert row["response"].strip() in options
        assert row["response"].startswith(" ")
        assert row["prompt"].endswith("\nAnswer:")


@pytest.mark.kit
def test_a_draw_repeats():
    draw = kit.load_kit_rows("c4", limit=7, seed=5)
    assert draw == kit.load_kit_rows("c4", limit=7, seed=5) != kit.load_kit_rows("c4", limit=7, seed=6)
    assert len(draw) == 7
