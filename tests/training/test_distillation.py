"""A fine-tune with a teacher has the losses and gradients of whole logits, and holds only pieces of them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora.attach import attach_adapter, list_adapter_parameters
from rankadaptor.components.adapter.lora.nested import attach_nested
from rankadaptor.data.sequences import make_batch
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.model.dropped import drop_half
from rankadaptor.model.families import find_family
from rankadaptor.pruning import prune
from rankadaptor.recipe import Recipe
from rankadaptor.training import fine_tune, head_loss
from rankadaptor.training.loss import SequenceLosses
from rankadaptor.training.teacher import Teacher

KINDS = (
    {"loss": "distill"},
    {"loss": "distill", "temperature": 2.0},
    {"loss": "mixed", "distill_weight": 0.3},
    {"loss": "mixed", "temperature": 0.5, "distill_weight": 0.6},
    {"loss": "plain", "hidden_weight": 0.7},
    {"loss": "mixed", "temperature": 1.5, "hidden_weight": 2.0},
)


def attach(model: Any, recipe: Recipe) -> Any:
    """Attach an adapter whose B is not zero."""
    space = RankSpace.from_model(model, like_uniform=3, slots="linear", ranks=(0, 1, 2, 3))
    peft_model = attach_adapter(model, space.reference(), recipe, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in list_adapter_parameters(peft_model).values():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    return peft_model


def differentiate(peft_model: Any, losses: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    peft_model.zero_grad()
    (losses * torch.arange(1.0, len(losses) + 1)).sum().backward()
    parameters = list_adapter_parameters(peft_model)
    return losses.detach(), {name: value.grad.clone() for name, value in parameters.items()}


def see(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Whole logits and all block outputs, by transformers alone."""
    outputs: list[torch.Tensor] = []
    layers = (model.get_base_model() if hasattr(model, "get_base_model") else model).model.layers
    handles = [layer.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for layer in layers]
    logits = model(input_ids=batch["input_ids"]).logits
    for handle in handles:
        handle.remove()
    return logits, [each[0] if isinstance(each, tuple) else each for each in outputs]


def compute_plainly(
    peft_model: Any, teacher: Any, given: Any, recipe: Recipe, *, pairs: list[tuple[int, int]]
) -> torch.Tensor:
    """The objective of each sequence from whole logits."""
    batch = make_batch(given, pad_id=1)
    counted = batch["labels"][:, 1:] != -100
    mine, my_outputs = see(peft_model, batch)
    with torch.no_grad():
        theirs, their_outputs = see(teacher, batch)
    mine, theirs = mine[:, :-1][counted], theirs[:, :-1][counted]
    heat = recipe.temperature
    divergence = F.kl_div(F.log_softmax(mine / heat, -1), F.softmax(theirs / heat, -1), reduction="none").sum(
        -1
    )
    losses = F.cross_entropy(mine, batch["labels"][:, 1:][counted], reduction="none")
    losses = (1 - recipe.kl_share) * losses + recipe.kl_share * heat**2 * divergence
    for one, other in pairs:
        alike = F.cosine_similarity(my_outputs[one][:, :-1][counted], their_outputs[other][:, :-1][counted])
        losses = losses + recipe.hidden_weight * (1 - alike) / len(pairs)
    return torch.zeros(len(given)).index_add(0, counted.nonzero()[:, 0], losses)


def check(peft_model: Any, teacher: Any, given: Any, recipe: Recipe, compute: Any, **options: Any) -> None:
    """Compare losses and gradients with those of whole logits."""
    guide = Teacher(teacher, peft_model, recipe=recipe, compute=compute)
    mine = SequenceLosses(peft_model, compute, training=True, teacher=guide)
    if options.pop("padded", False):
        mine.packed = None
    else:
        assert mine.packed is not None
    expected = differentiate(peft_model, compute_plainly(peft_model, teacher, given, recipe, **options))
    losses, gradients = differentiate(peft_model, mine(given))
    counts = torch.tensor([float(sequence.targets) for sequence in given])
    torch.testing.assert_close(losses / counts, expected[0] / counts, rtol=0, atol=1e-5)
    scale = sum(sequence.targets for sequence in given)
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient / scale, expected[1][name] / scale, rtol=1e-4, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("padded", [False, True], ids=["packed", "padded"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_losses_and_gradients_are_those_of_whole_logits(
    pico_model, recipe, sequences, compute, kind, padded, monkeypatch
):
    monkeypatch.setattr(head_loss, "PIECE", 7)  # several pieces, the last one short
    chosen = recipe.replace(**kind)
    peft_model = attach(pico_model("llama", 2), chosen)
    teacher = pico_model("llama", 2, seed=5)
    pairs = [(0, 0), (1, 1)] if chosen.hidden_weight else []
    check(peft_model, teacher, sequences[:7], chosen, compute, pairs=pairs, padded=padded)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3"])
def test_a_pruned_model_of_any_family_follows_the_dense_one(
    pico_model, pico_tokenizer, recipe, sequences, compute, family
):
    chosen = recipe.replace(loss="mixed", temperature=2.0)
    dense = pico_model(family, 3)
    small = prune(dense, pico_tokenizer, ratio=0.4, importance="l2", align=4, examples=2, length=16)
    check(attach(small, chosen), dense, sequences[:5], chosen, compute, pairs=[])


@pytest.mark.parametrize("padded", [False, True], ids=["packed", "padded"])
def test_kept_blocks_are_compared_with_the_same_blocks_of_the_teacher(
    pico_model, pico_tokenizer, recipe, sequences, compute, padded
):
    chosen = recipe.replace(loss="distill", hidden_weight=1.0)
    dense = pico_model("llama", 5)
    shallow = prune(
        dense, pico_tokenizer, ratio=0.4, importance="l2", targets=("blocks",), examples=2, length=16
    )
    originals = [entry["original"] for entry in shallow.config.rankadaptor["blocks"]]
    assert len(originals) == 3
    check(
        attach(shallow, chosen), dense, sequences[:5], chosen, compute,
        pairs=list(enumerate(originals)), padded=padded,
    )  # fmt: skip


def test_blocks_of_which_nothing_is_left_are_not_compared(pico_model, recipe, sequences, compute):
    chosen = recipe.replace(hidden_weight=1.0)
    dense, small = pico_model("llama", 3), pico_model("llama", 3)
    for half in ("attention", "mlp"):
        drop_half(small.model.layers[1], half, family=find_family(small))
    drop_half(small.model.layers[2], "mlp", family=find_family(small))
    check(attach(small, chosen), dense, sequences[:5], chosen, compute, pairs=[(0, 0), (2, 2)])


@pytest.mark.parametrize("windows", [(12, 12), (None, 12), (12, None)], ids=str)
def test_rows_longer_than_a_window_of_either_model_take_the_plain_way(
    pico_model, recipe, sequences, compute, windows
):
    chosen = recipe.replace(loss="mixed")
    mine, theirs = (
        pico_model("mistral", 2, seed=seed, sliding_window=window)
        for seed, window in zip((0, 5), windows, strict=True)
    )
    assert max(map(len, sequences[:5])) > 12
    check(attach(mine, chosen), theirs, sequences[:5], chosen, compute, pairs=[])


def test_a_head_with_a_bias_takes_the_same_pieces(pico_model, recipe, sequences, compute, monkeypatch):
    monkeypatch.setattr(head_loss, "PIECE", 7)
    chosen = recipe.replace(loss="mixed", temperature=2.0)
    models = [pico_model("llama", 2, seed=seed) for seed in (0, 5)]
    for model in models:
        head = torch.nn.Linear(32, len(model.lm_head.weight))
        torch.nn.init.normal_(head.bias, std=0.3)
        head.weight = model.lm_head.weight
        model.lm_head = head.requires_grad_(False)
    check(attach(models[0], chosen), models[1], sequences[:5], chosen, compute, pairs=[])


class Peak(TorchDispatchMode):
    """Measures the largest sum of bytes of tensors that were made inside and are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self._alive = 0, {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                self._alive.setdefault(storage.data_ptr(), (StorageWeakRef(storage), storage.nbytes()))
        self._alive = {key: value for key, value in self._alive.items() if not value[0].expired()}
        self.bytes = max(self.bytes, sum(size for _, size in self._alive.values()))
        return found


@pytest.mark.parametrize("kind", KINDS[:4], ids=str)
@pytest.mark.parametrize("vocabulary", [49152, 260_000])
def test_never_more_than_200_megabytes_of_logits_are_held(
    pico_model, recipe, sequences, compute, kind, vocabulary
):
    chosen = recipe.replace(**kind)
    peft_model = attach(pico_model("llama", 1, vocab_size=vocabulary), chosen)
    teacher = pico_model("llama", 1, seed=5, vocab_size=vocabulary)
    guide = Teacher(teacher, peft_model, recipe=chosen, compute=compute)
    losses = SequenceLosses(peft_model, compute, training=True, teacher=guide)
    rows = sum(sequence.targets for sequence in sequences[:14])
    assert rows > head_loss.count_rows(vocabulary), "the batch must be larger than a piece"
    with Peak() as peak:
        losses(sequences[:14]).sum().backward()
    assert 4 * head_loss.count_rows(vocabulary) * vocabulary < peak.bytes < 200e6


def test_students_that_share_a_batch_share_the_teacher_s_pass(pico_model, recipe, sequences, compute, model):
    chosen = recipe.replace(loss="mixed")
    teacher = pico_model("llama", 2, seed=5)
    space = RankSpace.from_model(model, like_uniform=4, slots="linear", ranks=(0, 1, 2, 3, 4, 6))
    given, tokens = sequences[:5], sum(map(len, sequences[:5]))
    with attach_nested(model, space, chosen, seed=0) as nested:
        with torch.no_grad():
            for value in list_adapter_parameters(nested.peft_model).values():
                value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
        guide = Teacher(teacher, nested.peft_model, recipe=chosen, compute=compute)
        losses = SequenceLosses(nested.peft_model, compute, training=True, teacher=guide)
        assert losses.packed is not None
        found = []
        for ranks in ((6, 0, 3), (0, 1, 6)):
            nested.choose(space.find_choices([ranks[index % 3] for index in range(space.n_slots)]))
            found.append(differentiate(nested.peft_model, losses(given))[0])
            plain = compute_plainly(nested.peft_model, teacher, given, chosen, pairs=[])
            torch.testing.assert_close(found[-1], plain.detach(), rtol=1e-5, atol=1e-5)
        assert guide.tokens == tokens  # read once, although two adapters were trained on the batch
        assert not torch.equal(*found)
        losses(sequences[5:9])
        assert guide.tokens == tokens + sum(map(len, sequences[5:9]))
    assert guide.seconds > 0


@pytest.fixture
def distil(pico_model, mixed, recipe, sequences, compute):
    """Fine-tune a fresh adapter towards another model."""

    def run(*, steps: int = 6, changes: dict[str, Any] | None = None, **options: Any) -> Any:
        chosen = recipe.replace(**{"loss": "distill", **(changes or {})})
        peft_model = attach_adapter(pico_model("llama", 2), mixed, chosen, seed=0)
        options = {"teacher": pico_model("llama", 2, seed=5), **options}
        result = fine_tune(
            peft_model, sequences, recipe=chosen, steps=steps, seed=0, compute=compute, **options
        )
        return result, {name: value.detach() for name, value in list_adapter_parameters(peft_model).items()}

    return run


def test_the_divergence_falls_and_its_cost_is_reported(distil):
    result, _ = distil(steps=60)
    assert sum(result.losses[-5:]) < 0.9 * sum(result.losses[:5])
    assert result.teacher_tokens == result.tokens
    assert 0 < result.teacher_seconds < result.seconds
    plain, _ = distil(steps=2, changes={"loss": "plain"}, teacher=None)
    assert (plain.teacher_tokens, plain.teacher_seconds) == (0, 0.0)


def test_accumulation_equals_the_big_batch(distil):
    whole, adapter = distil(steps=3, changes={"loss": "mixed", "hidden_weight": 0.5})
    parts, by_parts = distil(steps=3, changes={"loss": "mixed", "hidden_weight": 0.5, "micro_batch_size": 1})
    assert parts.losses == pytest.approx(whole.losses, abs=1e-5)
    for name in adapter:
        torch.testing.assert_close(by_parts[name], adapter[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("changes", [{"loss": "mixed"}, {"dropout": 0.2, "hidden_weight": 0.5}])
def test_gradient_checkpointing_changes_nothing(distil, changes):
    plain, adapter = distil(steps=3, changes=changes)
    saving, by_saving = distil(steps=3, changes={**changes, "gradient_checkpointing": True})
    assert saving.losses == pytest.approx(plain.losses, abs=1e-6)
    for name in adapter:
        torch.testing.assert_close(by_saving[name], adapter[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"loss": "mixed", "dropout": 0.2, "hidden_weight": 0.5}])
def test_resumed_equals_uninterrupted(distil, tmp_path, changes):
    def stop(report: Any) -> None:
        if report.step == 5:
            raise InterruptedError

    whole, adapter = distil(changes=changes, steps=8)
    with pytest.raises(InterruptedError):
        distil(changes=changes, steps=8, checkpoint=tmp_path, checkpoint_every=2, on_step=stop)
    kept = json.loads((tmp_path / "training.json").read_text())
    assert kept["step"] == 4
    assert 0 < kept["teacher_tokens"] < whole.teacher_tokens
    resumed, by_resuming = distil(changes=changes, steps=8, checkpoint=tmp_path, checkpoint_every=2)
    assert resumed.losses == whole.losses
    assert resumed.teacher_tokens == whole.teacher_tokens
    assert resumed.teacher_seconds > kept["teacher_seconds"]
    for name in adapter:
        assert torch.equal(by_resuming[name], adapter[name]), name


def test_a_checkpoint_of_another_teacher_or_loss_is_refused(distil, tmp_path, pico_model):
    distil(steps=2, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"teacher \w+ → \w+"):
        distil(steps=2, checkpoint=tmp_path, teacher=pico_model("llama", 2, seed=6))
    with pytest.raises(CheckpointError, match=r"recipe\.loss distill → mixed"):
        distil(steps=2, checkpoint=tmp_path, changes={"loss": "mixed"})


def test_a_teacher_that_is_the_trained_model_is_asked_without_the_adapter(
    model, mixed, recipe, sequences, compute, caplog
):
    chosen = recipe.replace(loss="distill")
    peft_model = attach_adapter(model, mixed, chosen, seed=0)
    with caplog.at_level(logging.WARNING, logger="rankadaptor"):
        guide = Teacher(model, peft_model, recipe=chosen, compute=compute)
    assert "only holds the adapter back" in caplog.text
    losses = SequenceLosses(peft_model, compute, training=True, teacher=guide)
    assert losses(sequences[:4]).tolist() == pytest.approx([0.0] * 4, abs=1e-4)
    with torch.no_grad():
        for value in list_adapter_parameters(peft_model).values():
            value += 0.1
    assert min(losses(sequences[4:8]).tolist()) > 0.1  # from the model before training, not from itself


@pytest.mark.parametrize("loss", ["distill", "plain"])
def test_a_teacher_that_does_not_fit_is_refused(distil, pico_model, loss):
    changes = {"loss": loss, "hidden_weight": 1.0}
    with pytest.raises(InputError, match=r"teacher predicts 96 tokens, the model 128.*loss='plain'"):
        distil(changes=changes, teacher=pico_model("llama", 2, vocab_size=96))
    with pytest.raises(InputError, match=r"hidden states have 64 numbers, the model's 32.*hidden_weight"):
        distil(changes=changes, teacher=pico_model("llama", 2, hidden_size=64))
    with pytest.raises(InputError, match=r"The teacher has 3 blocks, the model 2"):
        distil(changes=changes, teacher=pico_model("llama", 3))
    other = pico_model("llama", 2)
    other.config.model_type = "gemma2"
    with pytest.raises(InputError, match="Logits of gemma2"):
        distil(changes=changes, teacher=other)


def test_recipe_and_teacher_must_agree(distil, pico_model):
    with pytest.raises(InputError, match=r"loss='mixed'.*needs a teacher"):
        distil(changes={"loss": "mixed"}, teacher=None)
    with pytest.raises(InputError, match=r"A teacher is given, but the recipe has loss='plain'"):
        distil(changes={"loss": "plain"})
