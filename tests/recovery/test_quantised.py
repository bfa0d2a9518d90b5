"""Recovery through the quantiser: what is trained is what the file holds, bit for bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rankadaptor import CheckpointError, InputError
from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.lora.attach import attach_adapter, list_adapter_parameters
from rankadaptor.components.adapter.lora.rounded import RoundedLinear, round_adapted
from rankadaptor.components.precision.fixed_scales import fix_scales
from rankadaptor.components.precision.rounding import find_rounding
from rankadaptor.engine.gguf_file import prepare_file, write_gguf
from rankadaptor.engine.quantisers import dequantise, round_trip
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.families import describe_linears
from rankadaptor.recovery import recover
from rankadaptor.recovery.final import train_adapter
from rankadaptor.training.loss import SequenceLosses, choose_autocast, make_device_batch, sum_losses

EMBEDDING = "model.embed_tokens"


def adapt(model: Any, recipe: Any, types: Any, **given: Any) -> Any:
    """Attach an adapter with B not zero, and round it."""
    space = RankSpace.from_model(model, like_uniform=4)
    peft_model = attach_adapter(model, space.reference(), recipe, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in list_adapter_parameters(peft_model).values():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    round_adapted(peft_model, types, **given)
    return peft_model


def name_all(model: Any, kind: str, *, embedding: str | None = None) -> dict[str, str]:
    types = {linear.name: kind for linear in describe_linears(model)}
    return types | ({EMBEDDING: embedding} if embedding else {})


def read_file(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of a file, de-quantised."""
    import gguf

    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if len(tensor.shape) == 2:
            shape = tuple(int(size) for size in reversed(tensor.shape))
            found[tensor.name] = dequantise(np.array(tensor.data), tensor.tensor_type.name, shape)
    return found


@pytest.mark.parametrize("scales", ["fixed", "derived"])
@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "MXFP4", "F16"])
def test_the_file_holds_what_was_trained(
    kind, scales, pico_model, recipe, sequences, compute, pico_tokenizer, tmp_path
):
    model = pico_model("llama", 2)
    types = name_all(model, kind, embedding="Q4_1" if kind == "Q8_0" else kind)
    planned = prepare_file(model, pico_tokenizer, types=types).plan.bytes
    space = RankSpace.from_model(model, like_uniform=4)
    peft_model, result = train_adapter(
        model, space.reference(), recipe, sequences=sequences, held_out=(), steps=3, seed=0, compute=compute,
        types=types, scales=scales,
    )  # fmt: skip
    trained = {
        name: module.read_rounded().clone()
        for name, module in peft_model.get_base_model().named_modules()
        if isinstance(module, RoundedLinear)
    }
    trained[EMBEDDING] = peft_model.get_base_model().get_input_embeddings().weight.clone()
    assert set(trained) == set(types)
    loss = measure_loss(peft_model, sequences, compute=compute)
    merged = peft_model.merge_and_unload().eval()
    save_pruned(merged, pico_tokenizer, tmp_path / "merged", dtype="float32")
    loaded = load_checkpoint(tmp_path / "merged")
    written = write_gguf(loaded, pico_tokenizer, tmp_path / "model.gguf", types=types)
    assert written.bytes == planned
    found = read_file(tmp_path / "model.gguf")
    assert np.array_equal(found["token_embd.weight"], trained[EMBEDDING].numpy())
    for name, weight in trained.items():
        if name == EMBEDDING or name.endswith(("q_proj", "k_proj")):  # rows of these have another order
            continue
        block, half = name.split(".")[2:4]
        last = name.rsplit(".", 1)[1].removesuffix("_proj")
        place = {"v": "attn_v", "o": "attn_output"}.get(last, f"ffn_{last}")
        assert np.array_equal(found[f"blk.{block}.{place}.weight"], weight.numpy()), (name, half)
    for name in types.keys() - {EMBEDDING}:
        weight = loaded.get_submodule(name).weight.detach().numpy()
        assert np.array_equal(round_trip(weight, kind), trained[name].numpy()), name
        assert np.array_equal(weight, trained[name].numpy()), name
    assert measure_loss(loaded, sequences, compute=compute).mean == pytest.approx(loss.mean, abs=1e-6)
    assert result.losses[-1] < result.losses[0]


@pytest.mark.parametrize("kind", ["Q4_1", "Q4_0", "IQ4_NL", "A3G32"])
def test_without_an_update_weights_on_the_grid_do_not_change(kind, pico_model, recipe):
    model = pico_model("llama", 1)
    types = name_all(model, kind)
    for name in types:
        weight = model.get_submodule(name).weight
        weight.data = find_rounding(kind)(weight.data)
    before = {name: model.get_submodule(name).weight.clone() for name in types}
    space = RankSpace.from_model(model, like_uniform=4)
    peft_model = attach_adapter(model, space.reference(), recipe, seed=0)
    round_adapted(peft_model, types)
    for name, weight in before.items():
        assert torch.equal(peft_model.get_base_model().get_submodule(name).read_rounded(), weight), name
    merged = peft_model.merge_and_unload()
    for name, weight in before.items():
        assert torch.equal(merged.get_submodule(name).weight, weight), name


def test_an_adapter_on_fixed_scales_is_saved_with_a_warning(
    pico_model, recipe, rows, compute, pico_tokenizer, tmp_path, caplog
):
    for scales in ("derived", "fixed"):
        found = recover(
            pico_model("llama", 1), pico_tokenizer, data=rows, recipe=recipe, steps=1, compute=compute,
            patience=None, types="Q4_0", scales=scales,
        )  # fmt: skip
        found.save_pretrained(tmp_path / scales)
        assert ("save the merged model" in caplog.text) == (scales == "fixed")


@pytest.mark.parametrize("scales", ["fixed", "derived"])
@pytest.mark.parametrize("kind", ["A2G32", "A3G32", "A8G16"])
def test_grids_hold_what_was_trained(kind, scales, pico_model, recipe, sequences, compute):
    model = pico_model("qwen2", 2)
    space = RankSpace.from_model(model, like_uniform=4)
    peft_model, _ = train_adapter(
        model, space.reference(), recipe, sequences=sequences, held_out=(), steps=2, seed=0, compute=compute,
        types=name_all(model, kind), scales=scales,
    )  # fmt: skip
    linear = peft_model.get_base_model().model.layers[0].mlp.up_proj
    trained = linear.read_rounded().clone()
    merged = peft_model.merge_and_unload().model.layers[0].mlp.up_proj.weight
    assert torch.equal(merged, trained)
    if scales == "derived":
        assert torch.equal(find_rounding(kind)(merged), trained)
    assert len(merged[0, : find_rounding(kind).keywords["grid"].block].unique()) <= 2 ** int(kind[1])


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_bitsandbytes_holds_what_was_trained(
    kind, pico_model, recipe, sequences, compute, pico_tokenizer, tmp_path
):
    import dataclasses

    import bitsandbytes

    from rankadaptor import load

    model = pico_model("llama", 2, hidden_size=64)
    space = RankSpace.from_model(model, like_uniform=4)
    peft_model, _ = train_adapter(
        model, space.reference(), recipe, sequences=sequences, held_out=(), steps=2, seed=0, compute=compute,
        types={name: kind for name in name_all(model, kind) if not name.endswith("o_proj")},
    )  # fmt: skip
    trained = {
        name: module.read_rounded().clone()
        for name, module in peft_model.get_base_model().named_modules()
        if isinstance(module, RoundedLinear)
    }
    save_pruned(peft_model.merge_and_unload(), pico_tokenizer, tmp_path / "merged", dtype="float32")
    loaded, _ = load(tmp_path / "merged", compute=dataclasses.replace(compute, quantise=kind))
    for name, weight in trained.items():
        held = loaded.get_submodule(name).weight
        if kind == "nf4":
            back = bitsandbytes.functional.dequantize_4bit(held.data, held.quant_state)
        else:
            back = held.CB.float() * held.SCB.float()[:, None] * (1 / 127)
        assert torch.equal(back.to(weight.dtype), weight), name


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_gradients_pass_straight_through(masked, packed, pico_model, recipe, sequences, compute):
    model = pico_model("qwen3", 2)
    if masked:
        for linear in describe_linears(model):
            weight = model.get_submodule(linear.name).weight
            weight.data *= torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    peft_model = adapt(model, recipe, name_all(model, "Q4_0", embedding="Q8_0"))
    parameters = list_adapter_parameters(peft_model)
    if packed:
        measure = SequenceLosses(peft_model, compute, training=True)
        assert measure.packed is not None
        losses = measure(sequences[:3])
    else:
        losses = sum_losses(peft_model, make_device_batch(sequences[:3], compute))
    losses.sum().backward()
    found = {name: value.grad.clone() for name, value in parameters.items()}

    def forward(module: RoundedLinear, x: torch.Tensor) -> torch.Tensor:
        up, down, base = module.lora_B["default"].weight, module.lora_A["default"].weight, module.base_layer
        update = up @ down * module.scaling["default"]
        if module.rounding.mask is not None:
            update = update * module.rounding.mask
        exact = base.weight + update
        rounded = exact + (fix_scales("Q4_0", base.weight)(exact.detach()) - exact).detach()
        return F.linear(x, rounded, base.bias)

    for module in peft_model.modules():
        if isinstance(module, RoundedLinear):
            assert (module.rounding.mask is not None) == masked
            module.forward = forward.__get__(module)
    peft_model.zero_grad()
    expected = sum_losses(peft_model, make_device_batch(sequences[:3], compute))
    expected.sum().backward()
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-4)
    for name, value in parameters.items():
        torch.testing.assert_close(found[name], value.grad, rtol=1e-3, atol=1e-4)


def test_a_part_of_the_linears_may_be_rounded(pico_model, recipe, sequences, compute, monkeypatch):
    from rankadaptor.training import products

    model = pico_model("llama", 2)
    names = [name for name in name_all(model, "Q4_0") if not name.endswith(("k_proj", "gate_proj"))]
    peft_model = adapt(model, recipe, dict.fromkeys(names, "Q4_0"))
    parameters = list_adapter_parameters(peft_model)
    found = []
    for share in (0.0, 1e9):
        monkeypatch.setattr(products, "MERGE_SHARE", share)
        peft_model.zero_grad()
        losses = SequenceLosses(peft_model, compute, training=True)(sequences[:3])
        losses.sum().backward()
        found.append([losses.detach(), *(value.grad.clone() for value in parameters.values())])
    peft_model.zero_grad()
    losses = sum_losses(peft_model, make_device_batch(sequences[:3], compute))
    losses.sum().backward()
    found.append([losses.detach(), *(value.grad.clone() for value in parameters.values())])
    for one, two, three in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(one, three, rtol=1e-3, atol=1e-4)


def test_products_in_bfloat16_use_rounded_weights(pico_model, recipe, sequences, compute):
    import dataclasses

    half = dataclasses.replace(compute, dtype="bfloat16")
    model = pico_model("llama", 2)
    peft_model = adapt(model, recipe, name_all(model, "Q4_0"))
    with choose_autocast(half):
        losses = sum_losses(peft_model, make_device_batch(sequences[:3], half))
    losses.sum().backward()
    assert all(bool(value.grad.any()) for value in list_adapter_parameters(peft_model).values())
    exact = sum_losses(peft_model, make_device_batch(sequences[:3], compute))
    torch.testing.assert_close(losses, exact, rtol=0.03, atol=0.03)


def test_rounding_follows_the_adapter_and_is_not_repeated(pico_model, recipe, monkeypatch):
    model = pico_model("llama", 1)
    peft_model = adapt(model, recipe, name_all(model, "Q4_0"))
    linear = peft_model.get_base_model().model.layers[0].mlp.up_proj
    parameters = list(list_adapter_parameters(peft_model).values())
    first = linear.read_rounded()
    assert linear.read_rounded() is first
    optimizer = torch.optim.AdamW(parameters, lr=0.1, fused=True)
    for value in parameters:
        value.grad = torch.ones_like(value)
    optimizer.step()
    second = linear.read_rounded()
    assert second is not first
    assert not torch.equal(second, first)


def test_sparse_weights_stay_sparse(pico_model, recipe, rows, compute, pico_tokenizer):
    model = pico_model("llama", 2)
    generator = torch.Generator().manual_seed(0)
    for linear in describe_linears(model):
        weight = model.get_submodule(linear.name).weight
        weight.data *= torch.rand(weight.shape, generator=generator) > 0.5
    space = RankSpace.from_model(model, like_uniform=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = recover(
        model, pico_tokenizer, space.reference(), data=rows, recipe=recipe, steps=3, compute=compute,
        patience=None, types="Q5_0",
    )  # fmt: skip
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    merged = found.merge_and_unload()
    for linear in describe_linears(model):
        zeros = before[f"{linear.name}.weight"] == 0
        after = merged.get_submodule(linear.name).weight
        assert bool((after[zeros] == 0).all())
        assert not torch.equal(after, find_rounding("Q5_0")(before[f"{linear.name}.weight"]))


def test_a_run_that_was_cut_off_ends_the_same(pico_model, recipe, sequences, compute, tmp_path):
    def train(steps: int | None, kind: str = "Q4_0", scales: str = "fixed") -> tuple[Any, Any]:
        model = pico_model("llama", 2)
        from rankadaptor.training import loop

        space = RankSpace.from_model(model, like_uniform=4)
        peft_model = attach_adapter(model, space.reference(), recipe, seed=0)
        round_adapted(peft_model, name_all(model, kind, embedding=kind), scales=scales)

        def stop(report: Any) -> None:
            if report.step == steps:
                raise KeyboardInterrupt

        result = loop.fine_tune(
            peft_model, sequences, recipe=recipe, steps=6, seed=0, compute=compute,
            checkpoint=tmp_path / "checkpoint" if steps is not None else None, checkpoint_every=1,
            on_step=stop,
        )  # fmt: skip
        return peft_model.merge_and_unload(), result

    whole, result = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(3)
    with pytest.raises(CheckpointError, match="types"):
        train(100, "Q5_0")
    with pytest.raises(CheckpointError, match="scales"):
        train(100, scales="derived")
    resumed, again = train(100)
    assert result.losses == again.losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_plain_merging_and_one_rounding_give_the_same_weights(pico_model, recipe):
    model = pico_model("llama", 1)
    peft_model = adapt(model, recipe, name_all(model, "Q4_1"))
    linear = peft_model.get_base_model().model.layers[0].mlp.up_proj
    update = linear.get_delta_weight("default")
    exact = linear.base_layer.weight.detach() + update.detach()
    assert torch.equal(exact, linear.add_adapter())
    with pytest.raises(InputError, match="cannot be unmerged"):
        linear.unmerge()


def test_what_cannot_be_trained_through_is_refused(pico_model, recipe):
    def attempt(match: str, types: Any, recipe: Any = recipe, **given: Any) -> None:
        with pytest.raises(InputError, match=match):
            adapt(pico_model("llama", 1), recipe, types, **given)

    up = "model.layers.0.mlp.up_proj"
    attempt("no matrix called model.layers.9", {"model.layers.9.mlp.up_proj": "Q4_0"})
    attempt("whole blocks of 256", {up: "Q4_K"})
    attempt("dropout", {up: "Q4_0"}, recipe.replace(dropout=0.1))
    attempt("no level at zero", {up: "Q4_1"}, keep_zeros=True)
    attempt("allowed are fixed and derived", {up: "Q4_0"}, scales="trained")


@pytest.mark.parametrize("method", ["dora", "ia3", "full", "bottleneck"])
def test_other_methods_are_refused(method, pico_model, recipe, rows, compute, pico_tokenizer):
    with pytest.raises(InputError, match="plain LoRA"):
        recover(
            pico_model("llama", 1), pico_tokenizer, data=rows, recipe=recipe, steps=1, compute=compute,
            patience=None, types="Q4_0", method=method,
        )  # fmt: skip
