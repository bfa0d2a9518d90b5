"""Rows, targets, law and page, from records whose outcome is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from experiments.recovery.law import fit_law, keep_law
from experiments.recovery.page import render_page
from experiments.recovery.rows import list_rows
from experiments.recovery.targets import (
    compare_losses,
    compare_quantised,
    compare_with_default,
    compare_with_llm_pruner,
)
from experiments.recovery.training import LLM_PRUNER, Record, Training
from rankadaptor.errors import InputError
from rankadaptor.planning.token_law import TokenLaw, compute_share, read_token_law

DENSE, PRUNED = 3.0, 7.0
MODELS: dict[str, dict[str, Any]] = {
    "dense": {"parameters": 100, "losses": {"judging": DENSE, "other": DENSE + 1}},
    "uniform-30": {"parameters": 80, "losses": {"judging": PRUNED, "other": PRUNED + 1}},
}
SCALE, EXPONENT = 20_000.0, 0.4
LENGTHS = (40_960, 163_840, 655_360)


def make_record(share: float, *, tokens: int = LENGTHS[0], seed: int = 0, **changes: Any) -> Record:
    """A training that wins back this share, with a little noise that all recipes share at a seed."""
    training = Training("uniform", 0.3, tokens, changes.pop("rate", 5.2e-3), seed, **changes)
    loss = PRUNED - share * (PRUNED - DENSE) + 0.002 * (seed - 1)
    losses = {"search": loss, "judging": loss, "other": loss + 1}
    return Record(training, losses, tokens, tokens / 200, {"precision": "float32"})


def make_curve() -> list[Record]:
    return [
        make_record(compute_share(tokens, scale=SCALE, exponent=EXPONENT), tokens=tokens, seed=seed)
        for tokens in LENGTHS
        for seed in range(3)
    ]


def test_rows_hold_means_over_paired_seeds_and_leave_tuning_out():
    records = [make_record(0.5, seed=seed) for seed in range(3)] + [make_record(0.9, seed=1000)]
    (row,) = list_rows(records, MODELS, setting="test")
    assert row["seeds"] == [0, 1, 2]
    assert row["loss_judging"] == pytest.approx(5.0)
    assert row["loss_other"] == pytest.approx(6.0)
    assert row["regained"] == pytest.approx(0.5)
    assert row["regained_low"] < 0.5 < row["regained_high"]
    wanted = ["setting", "ratio", "bits", "method", "loss_kind", "learning_rate", "tokens", "seconds"]
    assert set(wanted) <= set(row)


def test_the_ratio_to_llm_pruners_recipe_is_shown_with_its_interval():
    records = [make_record(0.6, seed=seed) for seed in range(3)]
    records += [make_record(0.2, seed=seed, rate=1e-4, recipe=LLM_PRUNER) for seed in range(3)]
    table = compare_with_llm_pruner(list_rows(records, MODELS, setting="test"))
    assert len(table.rows) == 2  # one per text
    assert {row[5] for row in table.rows} == {"3.00"}
    assert {row[-1] for row in table.rows} == {"yes"}


def test_a_recipe_that_wins_nothing_back_gives_no_ratio():
    records = [make_record(0.6), make_record(-0.1, rate=1e-4, recipe=LLM_PRUNER)]
    table = compare_with_llm_pruner(list_rows(records, MODELS, setting="test"))
    assert {row[5] for row in table.rows} == {"–"}
    assert {row[-1] for row in table.rows} == {"no"}


def test_gains_over_the_default_and_the_plain_loss_are_paired_by_seed():
    records = [make_record(0.6, seed=seed) for seed in range(3)]
    records += [make_record(0.5, seed=seed, rate=3e-3) for seed in range(3)]
    records += [make_record(0.7, seed=seed, loss_kind="distill") for seed in range(3)]
    rows = list_rows(records, MODELS, setting="test")
    default = compare_with_default(rows)
    assert default.rows[0][3].startswith("lora, distill")
    assert default.rows[0][4] == "+0.8000"
    assert default.rows[0][-1] == "yes"
    assert compare_losses(rows).rows[0][5] in ("+0.4000", "+0.8000")


def test_training_through_a_quantiser_is_compared_with_rounding_afterwards():
    rounded = {"A3G32": {"search": 6.0, "judging": 6.0, "other": 7.0}}
    records = [make_record(0.6, seed=seed) for seed in range(3)]
    records = [dataclasses.replace(each, details={**each.details, "rounded": rounded}) for each in records]
    records += [make_record(0.4, seed=seed, bits="A3G32") for seed in range(3)]
    table = compare_quantised(list_rows(records, MODELS, setting="test"))
    assert len(table.rows) == 2
    assert {row[5] for row in table.rows} == {"+0.6000"}
    assert {row[-1] for row in table.rows} == {"yes"}


def test_the_law_is_found_again_and_read_by_plan(tmp_path: Path):
    law = fit_law(list_rows(make_curve(), MODELS, setting="test"))
    assert law.scale == pytest.approx(SCALE, rel=0.05)
    assert law.exponent == pytest.approx(EXPONENT, rel=0.05)
    share, low, high = law.predict(4 * LENGTHS[-1])
    assert low < compute_share(4 * LENGTHS[-1], scale=SCALE, exponent=EXPONENT) < high
    assert high - low < 0.1
    keep_law(law, file=tmp_path / "law.json")
    assert read_token_law(tmp_path / "law.json") == law
    assert f"{round(100 * share)} %" in law.describe(LENGTHS[-1])


def test_too_few_lengths_give_no_law():
    rows = list_rows([make_record(0.5, seed=seed) for seed in range(3)], MODELS, setting="test")
    with pytest.raises(InputError, match="1 lengths"):
        fit_law(rows)


def test_the_page_holds_every_row_and_what_more_tokens_bring():
    rows = list_rows(make_curve(), MODELS, setting="test")
    law = TokenLaw("test", "pruned", SCALE, EXPONENT, ((SCALE, EXPONENT),), (LENGTHS[0], LENGTHS[-1]))
    text = render_page(rows, law)
    assert text.count("| lora | plain |") == len(rows) == 3
    assert "2,621,440" in text
