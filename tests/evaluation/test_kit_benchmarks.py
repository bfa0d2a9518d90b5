"""The kit's real rows through lm-eval's real prompts."""

from __future__ import annotations

import pytest

from rankadaptor.evaluation import BENCHMARKS, evaluate
from rankadaptor.evaluation.definitions import load_definitions

pytestmark = pytest.mark.kit


def test_prompts_read_as_lm_eval_writes_them():
    asked = {}
    for definition in load_definitions(BENCHMARKS, limit=3, seed=0):
        document = definition.task.eval_docs[0]
        asked[definition.name] = (
            definition.task.doc_to_text(document),
            definition.task.doc_to_choice(document),
        )
        assert len(definition.items) == len(definition.task.eval_docs) == 3
    assert asked["boolq"][0].endswith("?\nAnswer:")
    assert asked["boolq"][1] == ["no", "yes"]
    for name, (_, choices) in asked.items():
        assert len(choices) == (2 if name in ("boolq", "piqa", "winogrande") else 4)
    for name in ("piqa", "arc_easy", "arc_challenge"):
        assert asked[name][0].startswith("Question: ")


def test_all_seven_are_scored(pico_model, pico_tokenizer):
    scores = evaluate(pico_model(max_position_embeddings=2048), pico_tokenizer, limit=3)
    assert [score.n for score in scores.benchmarks] == [3] * 7
    assert 0.0 <= scores.mean <= 1.0
