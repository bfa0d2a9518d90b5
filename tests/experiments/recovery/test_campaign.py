"""A campaign at pico size: trainings are done once, resumed, and shared between processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.recovery.__main__ import run_campaign
from experiments.recovery.agenda import list_missing
from experiments.recovery.config import Study
from experiments.recovery.execution import claim, run_training
from experiments.recovery.models import Inputs
from experiments.recovery.page import write_study
from experiments.recovery.records import Records, index_records
from experiments.recovery.training import LLM_PRUNER, Training


@pytest.fixture
def study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Study:
    monkeypatch.chdir(tmp_path)
    model = pico_model("llama", blocks=3, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(tmp_path / "model")
    pico_tokenizer.save_pretrained(tmp_path / "model")
    lines = [f"Line {n}: the fox jumps over dog {n * 7 % 13} under bridge {n * n % 17}." for n in range(300)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    (tmp_path / "other.txt").write_text("\n".join(f"{n} plus {n + 1} is {2 * n + 1}." for n in range(120)))
    rows = [{"instruction": f"Add {n} and {n}.", "input": "", "output": f"It is {2 * n}."} for n in range(80)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Study.model_validate(
        {
            "name": "pico",
            "model": "model",
            "compute": {"dtype": "float32", "threads": 1},
            "text": ("text.txt",),
            "other": "other.txt",
            "instructions": "rows.jsonl",
            "length": 16,
            "judge_sequences": 8,
            "search_sequences": 8,
            "training_tokens": 512,
            "lengths": (64, 128, 256),
            "ratios": (0.3,),
            "evaluations": 24,
            "types": ("Q4_0",),
            "rank": 2,
            "batch_size": 2,
            "speed": 1e6,
            "overhead": 0.0,
        },
        strict=False,
    )


def test_a_campaign_does_each_training_once_and_stops_in_time(study: Study, tmp_path: Path):
    records = Records("pico", folder=tmp_path / "records")
    assert run_campaign(study, records, seconds=0.0) == 0
    done = run_campaign(study, records, seconds=3.0)
    known = records.read()
    assert 0 < done == len(known) == len(index_records(known))
    assert next(list_missing(study, index_records(known))) not in index_records(known)
    models = records.read_models()
    assert models["uniform-30"]["parameters"] < models["dense"]["parameters"]
    assert not any((study.folder / "checkpoints").rglob("*.safetensors"))


def test_both_recipes_train_uniform_and_searched_models(study: Study, tmp_path: Path):
    records = Records("pico", folder=tmp_path / "records")
    inputs = Inputs(study, records)
    for widths in ("uniform", "searched"):
        for recipe, rate in (("ours", 3e-3), (LLM_PRUNER, 1e-4)):
            for seed in range(2):
                training = Training(widths, 0.3, 64, rate, seed, recipe=recipe)
                record = run_training(training, inputs)
                assert record.losses is not None
                assert record.losses.keys() == {"search", "judging", "other"}
                records.append(record)
    models = records.read_models()
    assert models["searched-30"]["parameters"] <= models["uniform-30"]["parameters"]
    result, law = tmp_path / "recovery.json", tmp_path / "law.json"
    write_study(tmp_path / "page.md", folder=tmp_path / "records", result=result, law=law)
    rows = json.loads(result.read_text())
    assert len(rows) == 5  # one of them was rounded afterwards too
    assert not law.exists()  # one length is no curve
    assert "LLM-Pruner's recipe" in (tmp_path / "page.md").read_text()


def test_losses_methods_and_types_are_trained_and_rounded_models_measured(study: Study, tmp_path: Path):
    inputs = Inputs(study, Records("pico", folder=tmp_path / "records"))
    plain = run_training(Training("uniform", 0.3, 64, 3e-3, 0), inputs)
    assert plain.losses is not None
    rounded = plain.details["rounded"]["Q4_0"]
    assert rounded.keys() == plain.losses.keys()
    assert rounded != plain.losses
    taught = run_training(Training("uniform", 0.3, 64, 3e-3, 0, loss_kind="distill"), inputs)
    through = run_training(Training("uniform", 0.3, 64, 3e-3, 0, bits="Q4_0"), inputs)
    whole = run_training(Training("uniform", 0.3, 64, 1e-4, 0, method="full"), inputs)
    losses = [record.losses for record in (plain, taught, through, whole)]
    assert None not in losses
    assert len({each["judging"] for each in losses if each is not None}) == 4
    assert taught.details["teacher_tokens"] > 0
    assert "rounded" not in through.details


def test_an_interrupted_training_ends_with_the_same_losses(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    training = Training("uniform", 0.3, 256, 3e-3, 0)
    inputs = Inputs(study, Records("pico", folder=tmp_path / "records"))
    whole = run_training(training, inputs)
    inputs.forget_checkpoint(training.label)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Inputs, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_training(training, inputs)
    assert run_training(training, inputs).losses == whole.losses


def test_what_another_process_is_at_is_left_to_it(tmp_path: Path):
    with claim(tmp_path / "training") as first, claim(tmp_path / "training") as second:
        assert first
        assert not second
