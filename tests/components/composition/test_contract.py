"""What every family must hold: an extracted allocation is the applied one, in logits and in costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.errors import InputError
from rankadaptor.model import FAMILIES, describe_model, digest_model, read_pruning, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.model.families import describe_blocks

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))
SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # one KV group has 32 columns
TYPES = ("F32", "Q8_0", "Q4_0", "A3G32")


def draw(space, count: int, *, seed: int = 0):
    generator = np.random.default_rng(seed)
    return [
        space.from_choices([int(generator.integers(len(slot.options))) for slot in space.slots])
        for _ in range(count)
    ]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_planned_bytes_are_those_of_the_file(pico_model, pico_tokenizer, tmp_path, family) -> None:
    model = pico_model(family, 3, tie_word_embeddings=family in ("llama", "qwen3"), **SIZES)
    live = LiveModel(model)
    space = build_space(model, precision=("F16", "Q8_0", "Q4_0"), tokenizer=pico_tokenizer)
    for allocation in (space.reference(), *draw(space, 4, seed=2)):
        small, types = live.extract(allocation)
        written = write_gguf(small, pico_tokenizer, tmp_path / "small.gguf", types=types)
        assert written.bytes == allocation.cost("bytes") == written.path.stat().st_size


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_extracted_allocation_is_the_applied_one(pico_model, tmp_path, family) -> None:
    model = pico_model(family, 3, tie_word_embeddings=family in ("llama", "qwen3"), **SIZES)
    sequences = TOKENS if family == "llama" else None
    live, space = LiveModel(model, sequences=sequences), build_space(model, precision=TYPES)
    assert live.importance == ("l2" if sequences is None else "param_first")
    digest, names = digest_model(model), list(model.state_dict())
    with torch.no_grad():
        dense = model(TOKENS).logits
        with live.applied(space.reference()) as applied:
            assert torch.equal(applied(TOKENS).logits, dense)
        for number, allocation in enumerate(draw(space, 4)):
            with live.applied(allocation):
                logits = model(TOKENS).logits
                outputs = [
                    model.generate(
                        TOKENS, max_new_tokens=3, min_new_tokens=3, do_sample=False, use_cache=cached
                    )
                    for cached in (True, False)
                ]
            assert torch.equal(*outputs)
            small, types = live.extract(allocation, rounded=True)
            assert torch.equal(small(TOKENS).logits, logits)
            facts = describe_model(small, repeats=0)
            assert facts["parameters"] == allocation.cost("parameters") == small.num_parameters()
            assert facts["macs"] == 64 * allocation.cost("macs")
            matrices = {
                name.removesuffix(".weight") for name, value in small.named_parameters() if value.ndim == 2
            }
            assert matrices == set(types)
            if number == 0:
                folder = save_pruned(small, None, tmp_path / "small")
                assert torch.equal(load_checkpoint(folder)(TOKENS).logits, logits)
                assert read_pruning(small)["digest"] == digest_model(load_checkpoint(folder))
        with pytest.raises(RuntimeError, match="inside"), live.applied(allocation):
            raise RuntimeError("inside")
        assert torch.equal(model(TOKENS).logits, dense)
    assert (digest_model(model), list(model.state_dict())) == (digest, names)
    assert model.get_output_embeddings().weight.requires_grad


def test_unrounded_models_keep_the_weights_of_the_model(pico_model) -> None:
    model = pico_model("llama", 2, **SIZES)
    live, space = LiveModel(model), build_space(model, precision=("Q8_0", "Q4_0"))
    small, types = live.extract(space.reference())
    assert digest_model(small) == digest_model(model)
    assert read_pruning(small) is None  # nothing was cut
    assert set(types.values()) == {"Q8_0"}
    values = [(64, "Q4_0") if slot.kind == "mlp" else slot.options[-1] for slot in space.slots]
    cut, types = live.extract(space.allocation(values))
    kept = live.order("block0.mlp")[:64]
    whole = model.model.layers[0].mlp
    assert torch.equal(cut.model.layers[0].mlp.up_proj.weight, whole.up_proj.weight[kept])
    assert torch.equal(cut.model.layers[0].mlp.down_proj.weight, whole.down_proj.weight[:, kept])
    assert types["model.layers.0.mlp.down_proj"] == "Q4_0"
    assert all(parameter.requires_grad for parameter in cut.parameters())
    record = read_pruning(cut)
    assert [shape.channels for shape in describe_blocks(cut)] == [64, 64]
    assert [line["channels"] for line in record["blocks"]] == [64, 64]
    assert all(0 < line["lost_importance"] < line["removed_share"] for line in record["blocks"])
    assert record["base_digest"] == digest_model(model)


def test_rounding_a_slice_gives_the_slice_of_the_rounded_copy(pico_model) -> None:
    """What `write_gguf` makes of an unrounded model is what was scored."""
    from rankadaptor.components.precision.formats import round_trip

    model = pico_model("llama", 1, **SIZES)
    live, space = LiveModel(model), build_space(model, precision=("Q4_0",), levels=4)
    for mlp in ((96, "Q4_0"), (32, "Q4_0"), (128, "Q4_0")):
        values = [mlp if slot.kind == "mlp" else slot.options[0] for slot in space.slots]
        allocation = space.allocation([(1, "Q4_0") if slot.kind == "attention" else value
                                       for slot, value in zip(space.slots, values, strict=True)])  # fmt: skip
        exact, types = live.extract(allocation)
        rounded, _ = live.extract(allocation, rounded=True)
        for name, kind in types.items():
            weight = exact.get_submodule(name).weight.detach().numpy()
            assert (round_trip(weight, kind) == rounded.get_submodule(name).weight.detach().numpy()).all()


def test_models_in_bfloat16_take_allocations_too(pico_model) -> None:
    model = pico_model("qwen2", 2, **SIZES).bfloat16()
    live, space = LiveModel(model), build_space(model, precision=("BF16", "Q4_0"))
    with torch.no_grad():
        dense = model(TOKENS).logits
        for allocation in (space.reference(), *draw(space, 2, seed=1)):
            with live.applied(allocation):
                logits = model(TOKENS).logits
            assert torch.equal(live.extract(allocation, rounded=True)[0](TOKENS).logits, logits)
            assert torch.equal(logits, dense) == allocation.is_reference


def test_what_cannot_be_applied_is_refused(pico_model) -> None:
    model = pico_model("llama", 2, **SIZES)
    live, space = LiveModel(model), build_space(model)
    with live.applied(space.reference()), pytest.raises(InputError, match="applied already"):
        live.extract(space.reference())
    foreign = build_space(pico_model("llama", 3, **SIZES))
    with pytest.raises(InputError, match=r"slot 'block2\.attention' is not one of this model's"):
        live.extract(foreign.reference())
    wider = build_space(pico_model("llama", 2, **{**SIZES, "intermediate_size": 256}))
    with (
        pytest.raises(InputError, match=r"block0\.mlp: width 256; this model has 128"),
        live.applied(wider.reference()),
    ):
        pass
    with pytest.raises(InputError, match="no half 'block9"):
        live.order("block9.mlp")
    assert not live._busy
