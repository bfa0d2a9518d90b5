"""The bench's plain loop trains what `fine_tune` trains, and its parts leave each other's keys alone."""

from __future__ import annotations

import json

import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora import attach_adapter
from rankadaptor.data import Row, draw_batches, tokenise_rows
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute
from rankadaptor.training import fine_tune
from rankadaptor.training.packing import pack_sequences
from tests.documents import ROOT

COMPUTE = Compute(device="cpu", dtype="float32", threads=1, reason="tests")


@pytest.fixture(scope="module")
def sequences(pico_tokenizer):
    rows = [
        Row(prompt=f"Question {n}: " * (1 + n % 3), response=f"It is {n}." * (1 + n % 2)) for n in range(16)
    ]
    return tokenise_rows(rows, pico_tokenizer, max_length=64)


@pytest.mark.parametrize("loss", [{}, {"loss": "distill"}, {"loss": "mixed", "temperature": 2.0}], ids=str)
def test_trainer_and_fine_tune_take_the_same_steps(pico_model, sequences, loss):
    from experiments.bench.plain import train_plainly

    recipe = Recipe(
        learning_rate=1e-2, batch_size=4, micro_batch_size=4, schedule="constant", warmup_share=0.0, **loss
    )
    teacher = pico_model("llama", 2, seed=5) if loss else None
    adapted = []
    for _ in range(2):
        model = pico_model("llama", 2)
        allocation = RankSpace.from_model(model, like_uniform=4, slots="linear").reference()
        adapted.append(attach_adapter(model, allocation, recipe, seed=0))
    ours = fine_tune(adapted[0], sequences, recipe=recipe, steps=8, seed=3, compute=COMPUTE, teacher=teacher)
    batches = draw_batches(len(sequences), batch_size=4, steps=8, seed=3)
    seen = [sequences[index] for indices in batches for index in indices]
    losses, seconds = train_plainly(
        adapted[1], seen, recipe=recipe, compute=COMPUTE, pad_id=1, teacher=teacher
    )
    assert list(ours.losses) == pytest.approx(losses, abs=1e-5)
    assert ours.losses[-1] < ours.losses[0]
    assert seconds > 0


def test_operations_are_those_that_torch_counts_but_for_what_is_not_needed(pico_model, sequences):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from experiments.bench.operations import count_operations

    model = pico_model("llama", 2)
    one = [pack_sequences(sequences[:1], device="cpu")]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=one[0].input_ids[None])
    forward = counter.get_total_flops()
    needed = count_operations(model, one, rank=0)
    # Forward and backward of the activations, less the head and last MLP where nothing is predicted.
    assert 0.6 * 2 * forward < needed < 2 * forward
    assert count_operations(model, one * 3, rank=0) == pytest.approx(3 * needed)
    assert count_operations(model, one, rank=4) > needed
    assert 0.6 * forward < count_operations(model, one, training=False) < forward


def test_a_part_leaves_the_keys_of_others_alone(tmp_path):
    from experiments.bench.document import merge_results, summarise

    path = tmp_path / "engine.json"
    path.write_text(json.dumps({"taylor_memory_ratio": 0.2, "commits": {"memory": "abc"}}))
    merge_results("speed", summarise("matmul_share", [0.7, 0.9, 0.75]), path=path)
    found = json.loads(path.read_text())
    assert found["taylor_memory_ratio"] == 0.2
    assert found["matmul_share"] == 0.75
    assert found["matmul_share_spread"] == [0.7, 0.9]
    assert set(found["commits"]) == {"memory", "speed"}
    assert found["environment"]["packages"]


def test_documents_quote_the_result_file():
    from experiments.bench.page import PAGES, render_page

    blocks = render_page(json.loads((ROOT / "experiments" / "results" / "engine.json").read_text()))
    for page in PAGES:
        text = (ROOT / page).read_text()
        shown = [name for name in blocks if f"<!-- generated:{name} -->" in text]
        assert shown
        for name in shown:
            assert f"<!-- generated:{name} -->\n{blocks[name]}\n<!-- /generated:{name} -->" in text
