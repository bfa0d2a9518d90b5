"""Every method on models with uneven widths and dropped halves: trained, saved, loaded, merged, resumed."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from peft import PeftModel

from rankadaptor.components.adapter.lora import load_adapter
from rankadaptor.components.adapter.tuners.attach import attach_method
from rankadaptor.components.adapter.tuners.merging import merge_trained
from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.data.sequences import tokenise_rows
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.methods import METHODS, find_method
from rankadaptor.model import save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.identity import digest_base
from rankadaptor.recipe import Recipe
from rankadaptor.recovery import recover
from rankadaptor.recovery.final import complete_recipe, train_adapter
from rankadaptor.training.loop import fine_tune

STEPS = 12
FAMILIES = ("llama", "qwen2", "qwen3")
RATES = {"full": 1e-2, "full_frozen_embeddings": 1e-2, "prompt_tuning": 0.1, "prefix_tuning": 0.1, "ia3": 0.1}
PLAIN = [name for name, method in METHODS.items() if method.saved == "PEFT adapter" and name != "qlora"]
FLOAT = [name for name in METHODS if name != "qlora"]


def make_recipe(name: str, **changes: Any) -> Recipe:
    given = {
        "learning_rate": RATES.get(name, 2e-2),
        "reference_rank": 3,
        "virtual_tokens": 5,
        "bottleneck_width": 6,
    }
    return Recipe(
        method=name, batch_size=4, micro_batch_size=4, sequence_length=96, steps=STEPS, **given | changes
    )


def read_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[4, 5, 6, 9, 40, 31]])).logits
    return logits[:, -6:]  # behind the virtual tokens of prompt tuning


@pytest.fixture
def make_uneven(pico_model):
    """Return a factory of small models with an MLP of half the width, and without one attention."""

    def make(family: str) -> Any:
        model = pico_model(family, 3)
        space = build_space(model, precision="F16")
        values = [slot.options[-1] for slot in space.slots]
        values[4], values[5] = (0, "none"), (32, "F16")  # no attention in block 1, half an MLP in block 1
        small, _ = LiveModel(model, importance="random").extract(space.allocation(values))
        return small

    return make


def train(model: Any, recipe: Recipe, sequences: Any, compute: Any, **given: Any) -> Any:
    return train_adapter(
        model, None, recipe, sequences=sequences, held_out=(), steps=STEPS, seed=0, compute=compute, **given
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_peft_loads_what_was_trained(
    name, family, make_uneven, rows, pico_tokenizer, compute, tmp_path
):
    model = make_uneven(family)
    before = read_logits(model)
    held_out = tokenise_rows(rows[16:], pico_tokenizer, max_length=96)
    trained = recover(model, pico_tokenizer, data=rows[:16], recipe=make_recipe(name), compute=compute)
    assert torch.equal(read_logits(model), before)
    expected = read_logits(trained)
    assert not torch.allclose(expected, before, atol=1e-3)
    assert (
        measure_loss(trained, held_out, compute=compute).mean
        < measure_loss(model, held_out, compute=compute).mean
    )
    trained.save_pretrained(tmp_path / "adapter")
    save_pruned(model, None, tmp_path / "model")
    loaded = PeftModel.from_pretrained(load_checkpoint(tmp_path / "model"), str(tmp_path / "adapter")).eval()
    torch.testing.assert_close(read_logits(loaded), expected, rtol=0, atol=1e-6)
    ours = load_adapter(load_checkpoint(tmp_path / "model"), tmp_path / "adapter")
    torch.testing.assert_close(read_logits(ours), expected, rtol=0, atol=1e-6)
    assert METHODS[name].title in (tmp_path / "adapter" / "README.md").read_text()


@pytest.mark.parametrize("family", FAMILIES[:2])
@pytest.mark.parametrize("name", FLOAT)
def test_merging_keeps_the_logits_or_is_refused(name, family, make_uneven, sequences, compute):
    method = find_method(name)
    trained, result = train(make_uneven(family), make_recipe(name), sequences, compute)
    assert result.losses[-1] < result.losses[0]
    expected = read_logits(trained.eval())
    if not method.mergeable:
        with pytest.raises(InputError, match=f"{method.title} cannot be merged"):
            merge_trained(trained, method)
        with pytest.raises(InputError, match=f"{method.title} cannot be merged"):
            trained.merge_and_unload()
        return
    merged = merge_trained(trained, method)
    torch.testing.assert_close(read_logits(merged), expected, rtol=0, atol=2e-5)
    assert not any(value.requires_grad for value in merged.parameters())
    assert not any("lora" in module or "ia3" in module for module, _ in merged.named_modules())


@pytest.mark.parametrize("name", FLOAT)
def test_an_interrupted_fine_tune_ends_like_an_uninterrupted_one(
    name, make_uneven, sequences, compute, tmp_path
):
    model, recipe = make_uneven("llama"), make_recipe(name)
    straight, result = train(copy.deepcopy(model), recipe, sequences, compute)

    def stop(report: Any) -> None:
        if report.step == 9:
            raise KeyboardInterrupt

    first = attach_method(copy.deepcopy(model), recipe, steps=STEPS, seed=0)
    given = {"recipe": recipe, "steps": STEPS, "seed": 0, "compute": compute, "checkpoint": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(first, sequences, **given, checkpoint_every=4, on_step=stop)
    again = attach_method(copy.deepcopy(model), recipe, steps=STEPS, seed=0)
    resumed = fine_tune(again, sequences, **given, checkpoint_every=4)
    assert resumed.losses == result.losses
    assert torch.equal(read_logits(again.eval()), read_logits(straight.eval()))


@pytest.mark.parametrize("name", [*PLAIN, "bottleneck"])
def test_the_weights_of_the_base_keep_their_digest(name, make_uneven):
    model = make_uneven("llama")
    before = digest_base(model)
    assert digest_base(attach_method(model, make_recipe(name), steps=STEPS, seed=0)) == before


@pytest.mark.parametrize("name", FLOAT)
def test_what_is_trained_is_in_float32_also_on_a_bfloat16_model(name, pico_model, sequences, compute):
    half = dataclasses.replace(compute, dtype="bfloat16")
    trained, result = train(pico_model("llama", 2).to(torch.bfloat16), make_recipe(name), sequences, half)
    assert {value.dtype for value in trained.parameters() if value.requires_grad} == {torch.float32}
    assert result.losses[-1] < result.losses[0]


def test_frozen_embeddings_stay_what_they_were(pico_model, sequences, compute):
    model = pico_model("llama", 2, tie_word_embeddings=False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trained, _ = train(model, make_recipe("full_frozen_embeddings"), sequences, compute)
    changed = {name for name, value in trained.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "layers" in name or name == "model.norm.weight"}


def test_full_fine_tuning_leaves_the_given_model_as_it_was(model, rows, pico_tokenizer, compute, tmp_path):
    before = read_logits(model)
    trained = recover(model, pico_tokenizer, data=rows, recipe=make_recipe("full"), compute=compute)
    assert torch.equal(read_logits(model), before)
    assert not trained.name_or_path
    save_pruned(trained, None, tmp_path)
    assert torch.equal(read_logits(load_checkpoint(tmp_path)), read_logits(trained))


def test_bottlenecks_load_where_they_belong_and_nowhere_else(
    make_uneven, rows, pico_tokenizer, compute, tmp_path
):
    model = make_uneven("llama")
    trained = recover(model, pico_tokenizer, data=rows, recipe=make_recipe("bottleneck"), compute=compute)
    trained.save_pretrained(tmp_path)
    expected = read_logits(trained)
    loaded = load_adapter(copy.deepcopy(model), tmp_path)
    assert torch.equal(read_logits(loaded), expected)
    other = copy.deepcopy(model)
    other.lm_head.weight.data += 1
    with pytest.raises(CheckpointError, match="were trained on the weights"):
        load_adapter(other, tmp_path)
    (tmp_path / "bottleneck.safetensors").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match="not what was written"):
        load_adapter(copy.deepcopy(model), tmp_path)
    assert torch.equal(read_logits(loaded.unload()), read_logits(model))


def test_adalora_ends_at_its_target_on_average(make_uneven, sequences, compute):
    trained, _ = train(make_uneven("llama"), make_recipe("adalora"), sequences, compute)
    kept = [sum(pattern) for pattern in trained.peft_config["default"].rank_pattern.values()]
    assert sum(kept) == 3 * len(kept)
    assert len(set(kept)) > 1


def test_rslora_divides_alpha_by_the_root_of_the_rank(model):
    recipe = make_recipe("rslora", reference_rank=9)
    assert recipe.scale(4) == pytest.approx(2 * 9 / 2)
    trained = attach_method(model, recipe.replace(reference_rank=4), steps=STEPS, seed=0)
    layer = trained.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == pytest.approx(2 * 4 / 2)


def test_unsuitable_combinations_are_refused_with_a_reason(
    model, mixed, pico_model, rows, pico_tokenizer, compute, sequences
):
    def fails(match: str, given: Any = model, **changes: Any) -> None:
        with pytest.raises(InputError, match=match):
            recover(given, pico_tokenizer, data=rows, compute=compute, **changes)

    fails("allowed are lora, rslora, dora", method="lora2")
    fails("AdaLoRA chooses the rank", allocation=mixed, method="adalora")
    fails("has no ranks", allocation=mixed, method="ia3")
    fails("held in 4 bits", method="qlora")
    fails("at least 10 steps", recipe=make_recipe("adalora"), steps=4)
    fails("ranks are final only at the end", recipe=make_recipe("adalora"), held_out=rows[:2], patience=1)
    fails("gradient_checkpointing", recipe=make_recipe("prefix_tuning", gradient_checkpointing=True))
    fails("holds factors of LoRA", recipe=make_recipe("ia3"), start={})
    space = build_space(model, precision="F16")
    values = [slot.options[-1] for slot in space.slots]
    values[2] = next(option for option in space.slots[2].options if option[0] == 1)
    uneven, _ = LiveModel(model, importance="random").extract(space.allocation(values))
    fails("same number of key-value heads", uneven, method="prefix_tuning")
    with pytest.raises(InputError, match="sets the factors A of LoRA"):
        make_recipe("ia3", initialisation="gradient")
    with pytest.raises(InputError, match="fixes how the scale falls"):
        make_recipe("rslora", scaling_exponent=0.5)


def test_per_layer_ranks_go_with_dora(model, mixed, rows, pico_tokenizer, compute, pico_model, tmp_path):
    trained = recover(
        model, pico_tokenizer, mixed, data=rows, method="dora", recipe=make_recipe("lora"), compute=compute
    )
    config = trained.peft_config["default"]
    assert config.use_dora
    assert set(config.rank_pattern.values()) == {1, 2, 3, 4, 6}
    trained.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(pico_model("llama", 2), str(tmp_path)).eval()
    assert torch.equal(read_logits(loaded), read_logits(trained))


def test_a_method_without_a_recipe_begins_at_its_middle_rate():
    assert complete_recipe(None, None) == Recipe()
    assert complete_recipe(None, "full").learning_rate == METHODS["full"].learning_rates[1]
    assert complete_recipe(make_recipe("lora"), "dora") == make_recipe("dora", learning_rate=2e-2)
