"""Whole blocks removed: which ones, what is left, and that it still is an ordinary model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.errors import InputError
from rankadaptor.model import FAMILIES, digest_model, read_pruning, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.pruning import prune
from rankadaptor.pruning.depth import BLOCK_IMPORTANCES, remove_blocks, score_blocks, select_blocks
from rankadaptor.pruning.influence import measure_influence

FAMILY_NAMES = [name for family in FAMILIES for name in family.model_types]
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))
TEXTS = [f"The river number {i} runs under {i + 2} bridges and through the old town." for i in range(30)]
CALIBRATION = {"calibration": TEXTS, "examples": 4, "length": 16}


def build(pico_model, family: str, blocks: int = 6):
    # Qwen's layer types differ between blocks here, so that the list must lose the right entries.
    extra = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 3}
    return pico_model(
        family, blocks, tie_word_embeddings=family == "llama", **(extra if family.startswith("qwen") else {})
    )


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_shallower_model_saves_loads_and_generates(pico_model, tmp_path, family) -> None:
    from transformers import AutoModelForCausalLM

    model = build(pico_model, family)
    whole = digest_model(model)
    pruned = prune(model, None, importance="l2", targets=["blocks"], ratio=0.5)
    assert (digest_model(model), len(model.model.layers)) == (whole, 6)
    kept = [entry["original"] for entry in read_pruning(pruned)["blocks"]]
    assert len(kept) == pruned.config.num_hidden_layers == len(pruned.model.layers) == 3
    for place, original in enumerate(kept):
        one, other = pruned.model.layers[place].state_dict(), model.model.layers[original].state_dict()
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert [block.self_attn.layer_idx for block in pruned.model.layers] == [0, 1, 2]
    if (types := getattr(model.config, "layer_types", None)) is not None:
        assert pruned.config.layer_types == [types[original] for original in kept]
        assert len(set(types)) == 2

    save_pruned(pruned, None, tmp_path / "pruned")
    loaded = load_checkpoint(tmp_path / "pruned")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
    with torch.no_grad():
        logits = pruned(TOKENS).logits
        assert all((each(TOKENS).logits - logits).abs().max() == 0.0 for each in (loaded, plain))
        outputs = [
            each.generate(TOKENS, max_new_tokens=6, do_sample=False, use_cache=cached, min_new_tokens=6)
            for each in (pruned, loaded)
            for cached in (True, False)
        ]
    assert all(torch.equal(outputs[0], output) for output in outputs)
    assert read_pruning(loaded) == read_pruning(pruned)
    assert digest_model(loaded) == read_pruning(pruned)["digest"]


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_removing_blocks_that_do_nothing_changes_no_logit(pico_model, family) -> None:
    model = pico_model(family, 4)
    with torch.no_grad():
        for index in (1, 3):
            model.model.layers[index].self_attn.o_proj.weight.zero_()
            model.model.layers[index].mlp.down_proj.weight.zero_()
        before = model(TOKENS).logits
        pruned = prune(model, None, importance="l2", targets=["blocks"], ratio=0.5)
        influence = measure_influence(model, TOKENS)
        remove_blocks(model, (1, 3))
        assert torch.equal(model(TOKENS).logits, before)
    assert influence[[1, 3]] == pytest.approx(0, abs=1e-12)
    assert min(influence[[0, 2]]) > 0.01
    assert read_pruning(pruned)["removed_blocks"] == [1, 3]


def test_influence_is_one_minus_the_mean_cosine(pico_model) -> None:
    model = pico_model("llama", 3)
    with torch.no_grad():
        states = model.model(TOKENS, output_hidden_states=True).hidden_states
    inputs = list(states[:3])
    caught = []
    model.model.norm.register_forward_pre_hook(lambda _m, given: caught.append(given[0]))
    with torch.no_grad():
        model(TOKENS)
    outputs = [*inputs[1:], caught[0]]  # the last of hidden_states is normalised, a block's output is not
    wanted = [
        1 - torch.cosine_similarity(x.double(), y.double(), dim=-1).mean().item()
        for x, y in zip(inputs, outputs, strict=True)
    ]
    assert measure_influence(model, TOKENS) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("importance", BLOCK_IMPORTANCES)
def test_every_importance_scores_blocks(pico_model, pico_tokenizer, importance) -> None:
    model = pico_model("llama", 4)
    options = {"importance": importance, "targets": ["blocks"], "ratio": 0.25, **CALIBRATION}
    one, two = (prune(model, pico_tokenizer, **options) for _ in range(2))
    record = read_pruning(one)
    assert digest_model(one) == digest_model(two)
    assert len(record["removed_blocks"]) == 1
    assert record["settings"]["targets"] == ["blocks"]
    assert record["parameters_after"] == one.num_parameters() < record["parameters_before"]


def test_a_blocks_score_is_the_sum_over_its_parts(pico_model) -> None:
    model = pico_model("llama", 3)
    scores = score_blocks(model, importance="l1")
    linears = [module for module in model.model.layers[1].modules() if isinstance(module, torch.nn.Linear)]
    assert scores[1] == pytest.approx(sum(li.weight.double().abs().sum().item() for li in linears))


def test_the_cut_is_felt_by_the_block_that_follows(pico_model) -> None:
    model = pico_model("llama", 6)
    with torch.no_grad():
        for index in (1, 2, 5):
            for parameter in model.model.layers[index].parameters():
                parameter.mul_(0.5)
    scores = score_blocks(model, importance="l1")
    record = read_pruning(prune(model, None, importance="l1", targets=["blocks"], ratio=0.5))
    assert record["removed_blocks"] == [1, 2, 5]
    entries = record["blocks"]
    assert [entry["block"] for entry in entries] == [0, 1, 2]
    assert [entry["original"] for entry in entries] == [0, 3, 4]
    assert [entry["lost_neighbours"] for entry in entries] == [0, 2, 1]
    assert [entry["removed_share"] for entry in entries] == [0, 0, 0]
    wanted = [0, scores[1:3].sum() / scores[1:4].sum(), scores[5] / scores[4:].sum()]
    assert [entry["lost_importance"] for entry in entries] == pytest.approx(wanted)


def test_the_space_sees_the_damage(pico_model) -> None:
    from rankadaptor.components.adapter import RankSpace

    pruned = prune(
        pico_model("llama", 6), None, importance="random", targets=["blocks"], ratio=0.5, skip_first=1
    )
    space = RankSpace.from_model(pruned, like_uniform=2, slots="block")
    assert len(space.slots) == 4 - (len(read_pruning(pruned)["removed_blocks"]) - 2)
    lost = [slot.attribute("lost_importance") for slot in space.slots]
    assert lost[0] == 0
    assert lost == [entry["lost_importance"] for entry in read_pruning(pruned)["blocks"]]
    assert max(lost) > 0


def test_depth_and_width_in_turn(pico_model, tmp_path) -> None:
    model = pico_model("qwen3", 6)
    shallow = prune(model, None, importance="l2", targets=["blocks"], ratio=0.34, skip_first=1, skip_last=1)
    both = prune(shallow, None, importance="l2", targets=["channels"], scope="global", ratio=0.3)
    then = read_pruning(both)
    assert len(then["removed_blocks"]) == 1
    assert both.config.is_heterogeneous
    assert all(entry["removed_share"] > 0 for entry in then["blocks"])
    assert [entry["original"] for entry in then["blocks"]] == [
        index for index in range(6) if index not in then["removed_blocks"]
    ]
    save_pruned(both, None, tmp_path / "both")
    with torch.no_grad():
        assert torch.equal(load_checkpoint(tmp_path / "both")(TOKENS).logits, both(TOKENS).logits)

    # and the other way round: uneven blocks of which some leave
    uneven = prune(model, None, importance="l2", targets=["channels"], scope="global", ratio=0.3)
    fewer = prune(uneven, None, importance="random", targets=["blocks"], ratio=0.3)
    again = prune(fewer, None, importance="random", targets=["blocks"], ratio=0.3, seed=1)
    kept = [entry["original"] for entry in read_pruning(again)["blocks"]]
    assert kept == [index for index in range(6) if index not in read_pruning(again)["removed_blocks"]]
    shares = [entry["removed_share"] for entry in read_pruning(uneven)["blocks"]]
    assert [entry["removed_share"] for entry in read_pruning(again)["blocks"]] == [shares[i] for i in kept]
    assert sum(entry["lost_neighbours"] for entry in read_pruning(again)["blocks"]) == 6 - len(kept)
    save_pruned(again, None, tmp_path / "again")
    with torch.no_grad():
        loaded = load_checkpoint(tmp_path / "again")
        assert torch.equal(loaded(TOKENS).logits, again(TOKENS).logits)
        cached, plain = (
            loaded.generate(TOKENS, max_new_tokens=6, do_sample=False, use_cache=use) for use in (True, False)
        )
    assert torch.equal(cached, plain)


def test_losses_of_cuts_in_turn_compound(pico_model) -> None:
    model = pico_model("llama", 4)
    for index in (1, 2):
        with torch.no_grad():
            for parameter in model.model.layers[index].parameters():
                parameter.mul_(0.5 * index)
    at_once = prune(model, None, importance="l1", targets=["blocks"], ratio=0.6, skip_first=1)
    options = {"importance": "l1", "targets": ["blocks"], "ratio": 0.3, "skip_first": 1}
    in_turn = prune(prune(model, None, **options), None, **(options | {"ratio": 0.4}))
    assert read_pruning(at_once)["removed_blocks"] == read_pruning(in_turn)["removed_blocks"]
    one, two = (
        [entry["lost_importance"] for entry in read_pruning(each)["blocks"]] for each in (at_once, in_turn)
    )
    assert one == pytest.approx(two)


@pytest.mark.parametrize(("ratio", "gone"), [(0.1, 1), (0.2, 1), (0.3, 2), (0.6, 3), (0.75, 4), (0.85, 4)])
def test_the_share_is_rounded_to_whole_blocks(ratio, gone) -> None:
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    order = [1, 3, 4, 2, 0]
    assert select_blocks(scores, [10] * 5, ratio=ratio + 0.01, searched=range(5)) == tuple(
        sorted(order[:gone])
    )


def test_the_ends_stay_where_asked() -> None:
    scores = np.array([0.0, 4.0, 3.0, 2.0, 0.0])
    assert select_blocks(scores, [10] * 5, ratio=0.6, searched=range(1, 4)) == (2, 3)
    assert select_blocks(scores, [10] * 5, ratio=0.99, searched=range(1, 4)) == (1, 2, 3)


def test_requests_that_cannot_be_met_are_refused(pico_model) -> None:
    model = pico_model("llama", 4)
    options = {"importance": "l2", "targets": ["blocks"]}
    with pytest.raises(InputError, match=r"at most 0\.75.*one block is kept"):
        prune(model, None, **options, ratio=0.95)
    with pytest.raises(InputError, match=r"rounds to no block.*0\.25"):
        prune(model, None, **options, ratio=0.1)
    with pytest.raises(InputError, match="Prune twice"):
        prune(model, None, importance="l2", targets=["blocks", "heads"], ratio=0.5)
    with pytest.raises(InputError, match=r"targets=\['blocks'\]"):
        prune(model, None, importance="block_influence", ratio=0.5)
    with pytest.raises(InputError, match=r"importance='block_influence' needs text"):
        prune(model, None, importance="block_influence", targets=["blocks"], ratio=0.5)
    with pytest.raises(InputError, match=r"allowed are .*block_influence"):
        prune(model, None, importance="influence", targets=["blocks"], ratio=0.5)
    with pytest.raises(InputError, match=r"give a list of at least one of .*'blocks'"):
        prune(model, None, importance="l2", targets=["layers"], ratio=0.5)


@pytest.mark.parametrize(("ratio", "skip_last"), [(0.3, 0), (0.5, 1), (0.7, 2)])
def test_a_plan_foresees_the_sizes(pico_model, ratio, skip_last) -> None:
    from rankadaptor.config.sections import PruneSection
    from rankadaptor.planning.shape import parse_shape, shrink_shape

    model = pico_model("llama", 6, tie_word_embeddings=True)
    section = PruneSection(ratio=ratio, targets=("blocks",), importance="l2", skip_last=skip_last)
    foreseen = shrink_shape(parse_shape(model.config.to_dict(), source="pico"), section)
    pruned = prune(model, None, ratio=ratio, targets=["blocks"], importance="l2", skip_last=skip_last)
    assert foreseen.parameters == pruned.num_parameters()


def test_a_run_file_names_what_does_not_go_together() -> None:
    from rankadaptor.config import build_run
    from rankadaptor.errors import ConfigError

    prune_section = {"targets": ["blocks", "channels"], "importance": "l2"}
    with pytest.raises(ConfigError, match=r"prune\.targets.*whole blocks cannot be combined"):
        build_run({"prune": prune_section})
    with pytest.raises(ConfigError, match=r"prune\.importance.*block_influence, which scores whole blocks"):
        build_run({"prune": {"importance": "block_influence"}})
    config = build_run({"prune": {"importance": "block_influence", "targets": ["blocks"]}})
    assert config.prune is not None
    assert config.prune.targets == ("blocks",)
