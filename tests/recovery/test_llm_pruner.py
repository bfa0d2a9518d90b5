"""LLM-Pruner's recipe as its script has it, by one word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rankadaptor.data import Row
from rankadaptor.errors import InputError
from rankadaptor.pruning import prune
from rankadaptor.recovery.final import recover
from rankadaptor.recovery.llm_pruner import PRUNING, make_llm_pruner_recipe


def test_the_recipe_is_that_of_its_script():
    recipe = make_llm_pruner_recipe(rows=49_700)
    assert (recipe.learning_rate, recipe.batch_size, recipe.dropout) == (1e-4, 64, 0.05)
    assert recipe.scale(8) * 8 == 16  # alpha
    assert recipe.steps == 1554  # two passes
    assert recipe.warmup_share * recipe.steps == pytest.approx(100, rel=0.1)
    with pytest.raises(InputError, match="give one"):
        make_llm_pruner_recipe()


def test_one_word_recovers_as_llm_pruner_does(pico_model: Callable[..., Any], pico_tokenizer: Any):
    rows = [Row(prompt=f"Add {n} and {n}.", response=f" It is {2 * n}.") for n in range(70)]
    model = pico_model("llama", blocks=3)
    texts = [f"the fox jumps over dog {n} and under bridge {n * n % 17} of river {n}" for n in range(200)]
    pruned = prune(model, pico_tokenizer, ratio=0.3, calibration=texts, skip_first=1, **PRUNING)
    adapted = recover(pruned, pico_tokenizer, data=rows, recipe="llm_pruner")
    assert adapted.steps_trained == 3  # two passes over 70 rows
    config = adapted.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.05)
    with pytest.raises(InputError, match="llm_pruner"):
        recover(pruned, pico_tokenizer, data=rows, recipe="llm-prunner")
