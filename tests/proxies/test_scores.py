from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.adapter import RankSpace, read_scales
from rankadaptor.components.adapter.scales import add_scales
from rankadaptor.errors import InputError
from rankadaptor.proxies import measure_reconstruction, measure_spectra, measure_variance
from rankadaptor.proxies.reconstruction import measure_block_errors
from rankadaptor.proxies.spectra import find_singular_values
from rankadaptor.proxies.variance import explain_variance
from rankadaptor.search import allocate_by_scores
from rankadaptor.training.examples import draw_examples
from rankadaptor.training.loss import make_device_batch, sum_losses


def is_concave(table) -> bool:
    rises = [
        np.diff(option_scores) / np.diff(options)
        for options, option_scores in zip(table.options, table.option_scores, strict=True)
    ]
    return all((rise >= 0).all() and (np.diff(rise) <= 1e-9).all() for rise in rises)


def test_spectra_are_the_singular_values_of_the_first_gradients(model, space, sequences, compute):
    table = measure_spectra(model, space, sequences, compute=compute, examples=12)
    chosen = draw_examples(sequences, 12, seed=0)
    name = space.slots[5].modules[0]
    weight = model.get_submodule(name).weight
    (sum_losses(model, make_device_batch(chosen, compute)).sum() / sum(s.targets for s in chosen)).backward()
    values = torch.linalg.svdvals(weight.grad)
    assert table.option_scores[5] == pytest.approx(
        [float(values[:rank].sum()) for rank in space.slots[5].options], rel=1e-4
    )
    assert is_concave(table)
    assert table.tokens == sum(len(sequence) for sequence in chosen)
    assert np.ptp([option_scores[-1] for option_scores in table.option_scores]) > 0


def test_scores_of_ranks_leave_scales_as_they_are(model, space, sequences, compute):
    wide = add_scales(space)
    plain = allocate_by_scores(space, measure_spectra(model, space, sequences, compute=compute, examples=4))
    for measure in (measure_spectra, measure_variance):
        table = measure(model, wide, sequences, compute=compute, examples=4)
        dealt = allocate_by_scores(wide, table)
        assert set(read_scales(dealt).values()) == {1.0}
        if measure is measure_spectra:
            assert dealt.values[: space.n_slots] == plain.values


def test_measuring_leaves_the_model_as_it_was(model, space, sequences, compute):
    model.train()
    model.lm_head.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_spectra(model, space, sequences, compute=compute, examples=4)
    measure_variance(model, space, sequences, compute=compute, examples=4)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in model.parameters())
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    assert [name for name, flag in flags.items() if not flag] == ["lm_head.weight"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_wide_matrices_keep_their_leading_singular_values():
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(700, 60, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(600, 60, generator=generator)).Q
    spectrum = 10.0 * 0.8 ** torch.arange(60)
    found = find_singular_values(left @ torch.diag(spectrum) @ right.T, count=8)
    assert torch.allclose(found, spectrum[:8], rtol=1e-3)


def test_variance_agrees_with_principal_components_and_is_shared_by_equal_inputs(
    model, space, sequences, compute
):
    from sklearn.decomposition import PCA

    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 7)
    assert explain_variance(rows, count=4) == pytest.approx(
        PCA(4).fit(rows).explained_variance_ratio_, rel=1e-4
    )
    assert explain_variance(rows[:4], count=9) == pytest.approx(
        [*PCA(3).fit(rows[:4]).explained_variance_ratio_, 0.0], rel=1e-3, abs=1e-6
    )
    assert explain_variance(torch.ones(5, 3), count=2) is None
    table = measure_variance(model, space, sequences, compute=compute)
    by_kind = {
        slot.kind: table.option_scores[index] for index, slot in enumerate(space.slots) if slot.block == 1
    }
    assert by_kind["q_proj"] == by_kind["k_proj"] == by_kind["v_proj"]
    assert by_kind["gate_proj"] == by_kind["up_proj"] != by_kind["q_proj"]
    assert is_concave(table)


def test_reconstruction_gives_ranks_in_proportion_to_the_blocks_errors(
    model, pico_model, space, sequences, compute
):
    dense = pico_model("llama", 2)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(0.2)
    errors = measure_block_errors(model, dense, sequences, compute=compute)
    assert errors[0] == 0 < errors[1]
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(0.7)
    table = measure_reconstruction(model, dense, space, sequences, compute=compute)
    assert is_concave(table)
    fine = RankSpace.from_model(model, like_uniform=6, slots="block", ranks=range(17))
    errors = measure_block_errors(model, dense, draw_examples(sequences, 32, seed=0), compute=compute)
    dealt = allocate_by_scores(
        fine, measure_reconstruction(model, dense, fine, sequences, compute=compute)
    ).values
    wanted = errors / errors.sum() * (12 + 2)
    assert np.abs(np.asarray(dealt) + 1 - wanted).max() <= 1
    with pytest.raises(InputError, match="3"):
        measure_reconstruction(model, pico_model("llama", 3), space, sequences, compute=compute)


def test_a_model_without_the_linears_is_refused(pico_model, space, sequences, compute):
    for measure in (measure_spectra, measure_variance):
        with pytest.raises(InputError, match="no linear"):
            measure(pico_model("llama", 1), space, sequences, compute=compute)
