"""A recipe refuses what the run file refuses too."""

from __future__ import annotations

from typing import Any

import pytest

from rankadaptor.errors import InputError
from rankadaptor.recipe import Recipe


@pytest.mark.parametrize(
    "wrong",
    [
        {"gradient_clip": -1.0},
        {"weight_decay": -0.1},
        {"scale_at_reference": 0.0},
        {"reference_rank": 0},
        {"sequence_length": 1},
        {"warmup_share": 1.0},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"batch_size": 6, "micro_batch_size": 4},
        {"schedule": "step"},
        {"initialisation": "zero"},
        {"loss": "kl"},
        {"temperature": 0.0},
        {"distill_weight": 1.0},
        {"hidden_weight": -1.0},
    ],
)
def test_numbers_that_make_no_training_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Recipe().replace(**wrong)


def test_no_clipping_is_a_clip_of_zero() -> None:
    assert Recipe(gradient_clip=0.0).to_json()["gradient_clip"] == 0.0


def test_later_fields_are_written_only_where_they_differ_from_their_default() -> None:
    later = {"initialisation", "loss", "temperature", "distill_weight", "hidden_weight"}
    assert not later & Recipe().to_json().keys()
    chosen = {"loss": "mixed", "temperature": 2.0, "distill_weight": 0.25, "hidden_weight": 0.1}
    written = Recipe(**chosen).to_json()
    assert {key: written[key] for key in chosen} == chosen
    assert Recipe(**written) == Recipe(**chosen)


def test_only_a_loss_with_a_teacher_needs_one() -> None:
    assert not Recipe().needs_teacher
    assert Recipe(hidden_weight=0.5).needs_teacher
    assert (Recipe(loss="distill").kl_share, Recipe(loss="mixed", distill_weight=0.3).kl_share) == (1.0, 0.3)
