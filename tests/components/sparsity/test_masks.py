from __future__ import annotations

import pytest
import torch

from rankadaptor.components.sparsity import (
    apply_masks,
    choose_masks,
    find_masks,
    measure_sparsity,
)
from rankadaptor.errors import InputError
from rankadaptor.model import FAMILIES, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_row_loses_its_smallest_scores(pico_model, tmp_path, family) -> None:
    model = pico_model(family, 2)
    inputs = {}
    down = model.model.layers[1].mlp.down_proj

    def note(_module, given) -> None:
        inputs["x"] = given[0].flatten(0, 1)

    handle = down.register_forward_pre_hook(note)
    with torch.no_grad():
        model(input_ids=TOKENS)
    handle.remove()
    scores = down.weight.detach().abs() * inputs["x"].norm(dim=0)
    masks = choose_masks(model, 0.5, sequences=TOKENS)
    mask = masks["model.layers.1.mlp.down_proj"]
    assert (mask.sum(1) == 32).all()
    kept, gone = scores.masked_fill(~mask, 9.0).amin(1), scores.masked_fill(mask, 0.0).amax(1)
    assert (kept >= gone - 1e-6).all()  # scores are computed in float64 there
    embedding = model.get_input_embeddings().weight.clone()
    apply_masks(model, masks)
    assert measure_sparsity(model) == 0.5
    assert all(torch.equal(found, masks[name]) for name, found in find_masks(model).items())
    assert torch.equal(model.get_input_embeddings().weight, embedding)
    again = load_checkpoint(save_pruned(model, None, tmp_path / "sparse"))
    assert measure_sparsity(again) == 0.5
    with torch.no_grad():
        assert torch.equal(again(input_ids=TOKENS).logits, model(input_ids=TOKENS).logits)


def test_without_text_magnitudes_decide(pico_model) -> None:
    model = pico_model("llama", 1)
    masks = choose_masks(model, 0.25)
    weight = model.model.layers[0].self_attn.q_proj.weight.abs()
    mask = masks["model.layers.0.self_attn.q_proj"]
    assert torch.equal((~mask).sum(1), torch.full((32,), 8))
    assert (weight.masked_fill(~mask, 9.0).amin(1) >= weight.masked_fill(mask, 0.0).amax(1)).all()
    assert measure_sparsity(model) == 0.0


def test_what_is_no_share_is_refused(pico_model) -> None:
    with pytest.raises(InputError, match=r"sparsity 1\.0: give a share"):
        choose_masks(pico_model("llama", 1), 1.0)
