"""lm-eval on models in memory: the right metric, the right answers, the same items, and no traces."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.evaluation import BENCHMARKS, Scores, compare_scores, evaluate
from tests.evaluation.items import make_rows

pytestmark = pytest.mark.usefixtures("own_rows")


@pytest.fixture(scope="module")
def model(pico_model):
    return pico_model()


def sum_log_likelihood(model, tokenizer, context, continuation):
    """Score a continuation with nothing but the model, as lm-eval splits the two."""
    import torch

    whole = tokenizer.encode(context + continuation, add_special_tokens=False)
    start = len(tokenizer.encode(context, add_special_tokens=False))
    with torch.no_grad():
        logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(logs[place - 1, whole[place]].item() for place in range(start, len(whole)))


def test_metrics_follow_the_convention(model, pico_tokenizer):
    scores = evaluate(model, pico_tokenizer)
    assert {score.benchmark: score.metric for score in scores.benchmarks} == {
        "boolq": "acc",
        "piqa": "acc",
        "hellaswag": "acc_norm",
        "winogrande": "acc",
        "arc_easy": "acc",
        "arc_challenge": "acc_norm",
        "openbookqa": "acc_norm",
    }
    assert scores.names == BENCHMARKS
    for score in scores.benchmarks:
        share = score.accuracy
        assert (score.n, score.items) == (10, tuple(range(10)))
        assert set(score.correct) <= {0.0, 1.0}
        assert score.standard_error == pytest.approx((share * (1 - share) / 9) ** 0.5)
    assert scores.mean == pytest.approx(np.mean([score.accuracy for score in scores.benchmarks]))
    assert scores.mean_without_boolq == pytest.approx(
        np.mean([score.accuracy for score in scores.benchmarks[1:]])
    )
    assert scores.tokens > 1000


def test_answers_are_those_that_the_model_finds_likeliest(model, pico_tokenizer):
    scores = evaluate(model, pico_tokenizer, benchmarks=["piqa", "arc_challenge", "winogrande"])
    piqa, arc, winogrande = [], [], []
    for row in make_rows("piqa"):
        context = f"Question: {row['goal']}\nAnswer:"
        found = [
            sum_log_likelihood(model, pico_tokenizer, context, f" {row[key]}") for key in ("sol1", "sol2")
        ]
        piqa.append(np.argmax(found) == row["label"])
    for row in make_rows("arc_challenge"):
        context = f"Question: {row['question']}\nAnswer:"
        texts = row["choices"]["text"]
        found = [sum_log_likelihood(model, pico_tokenizer, context, f" {text}") / len(text) for text in texts]
        arc.append("ABCD"[np.argmax(found)] == row["answerKey"])
    for row in make_rows("winogrande"):
        before, after = row["sentence"].split("_")
        options = [row["option1"], row["option2"]]
        found = [
            sum_log_likelihood(model, pico_tokenizer, before + each, f" {after.strip()}") for each in options
        ]
        winogrande.append(1 + np.argmax(found) == int(row["answer"]))
    assert scores["piqa"].correct == tuple(map(float, piqa))
    assert scores["arc_challenge"].correct == tuple(map(float, arc))
    assert scores["winogrande"].correct == tuple(map(float, winogrande))
    assert 0 < sum(piqa) + sum(arc) + sum(winogrande) < 30


def test_limit_takes_the_same_items_for_every_model(pico_model, pico_tokenizer):
    first = evaluate(pico_model(seed=0), pico_tokenizer, benchmarks=["piqa", "boolq"], limit=4)
    second = evaluate(pico_model(seed=1), pico_tokenizer, benchmarks=["boolq", "piqa"], limit=4, batch_size=3)
    more = evaluate(pico_model(seed=0), pico_tokenizer, benchmarks=["piqa"], limit=7)
    other = evaluate(pico_model(seed=0), pico_tokenizer, benchmarks=["piqa"], limit=4, seed=1)
    assert first["piqa"].items == second["piqa"].items
    assert first["piqa"].digest == second["piqa"].digest
    assert set(first["piqa"].items) < set(more["piqa"].items)
    assert set(first["piqa"].items) != set(other["piqa"].items)
    kept = dict(zip(more["piqa"].items, more["piqa"].correct, strict=True))
    assert first["piqa"].correct == tuple(kept[item] for item in first["piqa"].items)
    assert {entry.benchmark for entry in compare_scores(first, second).benchmarks} == {"piqa", "boolq"}
    with pytest.raises(InputError, match="same limit and seed"):
        compare_scores(first, more)


def test_pruned_models_and_adapters_are_taken_as_objects(pico_model, pico_tokenizer):
    from peft import LoraConfig, get_peft_model

    from rankadaptor.pruning import prune

    texts = ["A river runs through the old town and under three bridges."] * 12
    pruned = prune(
        pico_model(), pico_tokenizer, ratio=0.3, calibration=texts, skip_first=1, align=1, length=16
    )
    before = evaluate(pruned, pico_tokenizer, benchmarks=["piqa", "hellaswag"])
    adapter = get_peft_model(pruned, LoraConfig(r=4, target_modules=["down_proj"], init_lora_weights=False))
    adapter.train()
    with_adapter = evaluate(adapter, pico_tokenizer, benchmarks=["piqa", "hellaswag"])
    assert adapter.training
    with adapter.disable_adapter():
        without = evaluate(adapter, pico_tokenizer, benchmarks=["piqa", "hellaswag"])
    assert without.benchmarks == before.benchmarks
    assert with_adapter.names == before.names


def test_nothing_is_left_behind(model, pico_tokenizer, capfd):
    import random

    import datasets
    import torch

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state().tolist()
    level = logging.getLogger("lm_eval").level
    bars = datasets.is_progress_bar_enabled()
    evaluate(model, pico_tokenizer, benchmarks=["hellaswag"])
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.random.get_rng_state().tolist() == states[2]
    assert logging.getLogger("lm_eval").level == level
    assert datasets.is_progress_bar_enabled() == bars
    assert capfd.readouterr() == ("", "")


def test_requests_longer_than_the_model_are_told(pico_model, pico_tokenizer, caplog):
    with caplog.at_level(logging.WARNING, logger="rankadaptor"):
        evaluate(pico_model(max_position_embeddings=64), pico_tokenizer, benchmarks=["piqa"])
    assert "exceed the model's 64 positions" in caplog.text
    with pytest.raises(InputError, match="8 positions"):
        evaluate(pico_model(max_position_embeddings=8), pico_tokenizer, benchmarks=["piqa"])


def test_scores_survive_json(model, pico_tokenizer):
    scores = evaluate(model, pico_tokenizer, benchmarks=["boolq", "openbookqa"], limit=6)
    stored = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert Scores.from_json(stored) == scores
    summary = scores.summary()
    assert summary["boolq"] == {
        "metric": "acc", "accuracy": scores["boolq"].accuracy, "n": 6,
        "standard_error": scores["boolq"].standard_error,
    }  # fmt: skip
    assert summary["mean"] == scores.mean


@pytest.mark.parametrize(
    ("benchmarks", "match"),
    [
        (["bolq"], r"Did you mean 'boolq'\?.*openbookqa.*hub:NAME"),
        ("boolq", "give a list"),
        ([], "give a list"),
        (["boolq", "piqa", "boolq"], "boolq named twice"),
        (["absent.yaml"], "absent.yaml: no such benchmark file"),
    ],
)
def test_wrong_names_are_explained(model, pico_tokenizer, benchmarks, match):
    with pytest.raises(InputError, match=match):
        evaluate(model, pico_tokenizer, benchmarks=benchmarks)


def test_wrong_numbers_are_explained(model, pico_tokenizer):
    with pytest.raises(InputError, match="limit=0"):
        evaluate(model, pico_tokenizer, benchmarks=["boolq"], limit=0)
    with pytest.raises(InputError, match="batch_size=0"):
        evaluate(model, pico_tokenizer, benchmarks=["boolq"], batch_size=0)


OWN = """
task: colours
dataset_path: json
dataset_kwargs:
  data_files:
    validation: {rows}
output_type: multiple_choice
validation_split: validation
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: answer
doc_to_choice: "{{{{options}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def test_a_benchmark_of_ones_own(model, pico_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"question": f"Is {n} red?", "options": ["no", "yes", "maybe"], "answer": n % 3} for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = OWN.format(rows=tmp_path / "rows.jsonl")
    (tmp_path / "colours.yaml").write_text(own, encoding="utf-8-sig")
    scores = evaluate(model, pico_tokenizer, benchmarks=[tmp_path / "colours.yaml", "boolq"], limit=5)
    assert scores.names == ("colours", "boolq")
    assert (scores["colours"].metric, scores["colours"].n) == ("acc", 5)
    whole = evaluate(model, pico_tokenizer, benchmarks=[str(tmp_path / "colours.yaml")])
    kept = dict(zip(whole["colours"].items, whole["colours"].correct, strict=True))
    assert scores["colours"].correct == tuple(kept[item] for item in scores["colours"].items)


def test_a_broken_file_is_named(model, pico_tokenizer, tmp_path):
    (tmp_path / "latin1.yaml").write_bytes("task: é".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin1\.yaml:1: not UTF-8 text .* iconv"):
        evaluate(model, pico_tokenizer, benchmarks=[tmp_path / "latin1.yaml"])
    (tmp_path / "broken.yaml").write_text("task: broken\noutput_type: multiple_choice\n")
    with pytest.raises(InputError, match=r"broken\.yaml: lm-eval cannot load it"):
        evaluate(model, pico_tokenizer, benchmarks=[tmp_path / "broken.yaml"])


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_told(model, pico_tokenizer):
    with pytest.raises(InputError, match=r"hub:copa: lm-eval cannot load it.*The kit has boolq"):
        evaluate(model, pico_tokenizer, benchmarks=["hub:copa"])
