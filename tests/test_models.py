from __future__ import annotations

import shutil

import pytest
import torch

from rankadaptor.errors import CheckpointError
from rankadaptor.models import load, load_tokenizer
from rankadaptor.pruning import prune, read_pruning, save_pruned
from rankadaptor.runtime import choose_compute

EXACT = choose_compute(device="cpu", dtype="float32")
TOKENS = torch.arange(3, 15)[None]


@pytest.mark.parametrize("ends_kept", [0, 1])
def test_a_saved_model_loads_with_equal_logits(pico_model, pico_tokenizer, tmp_path, ends_kept) -> None:
    model = pico_model("llama", 3)
    pruned = prune(model, None, ratio=0.4, importance="l2", skip_first=ends_kept)
    save_pruned(pruned, pico_tokenizer, tmp_path / "pruned")
    loaded, tokenizer = load(tmp_path / "pruned", compute=EXACT)
    with torch.no_grad():
        assert (loaded(TOKENS).logits - pruned(TOKENS).logits).abs().max() == 0.0
    text = "A river runs through the old town."
    assert tokenizer(text)["input_ids"] == pico_tokenizer(text)["input_ids"]
    assert not loaded.training
    assert read_pruning(loaded) == read_pruning(pruned)


def test_the_folder_may_move_and_names_the_base(pico_model, pico_tokenizer, tmp_path) -> None:
    save_pruned(pico_model("llama", 2), pico_tokenizer, tmp_path / "here" / "small")
    shutil.move(tmp_path / "here", tmp_path / "there")
    model, _ = load(tmp_path / "there" / "small", compute=EXACT)
    pruned = prune(model, None, ratio=0.3, importance="l1")
    assert read_pruning(pruned)["base"] == "small"


def test_what_cannot_be_found_says_what_to_give(tmp_path) -> None:
    for source in (tmp_path / "nothing", str(tmp_path / "nothing"), "./nothing", "nothing"):
        with pytest.raises(CheckpointError, match=r"no such folder.*kit:smollm2-135m"):
            load(source, compute=EXACT)
    with pytest.raises(CheckpointError, match=r"some-org/some-model: not fetched.*kit:smollm2-135m"):
        load("some-org/some-model", compute=EXACT)


def test_a_folder_without_a_tokenizer_is_named(pico_model, tmp_path) -> None:
    save_pruned(pico_model("llama", 1), None, tmp_path / "bare")
    with pytest.raises(CheckpointError, match="bare: no usable tokenizer"):
        load_tokenizer(tmp_path / "bare")


@pytest.mark.kit
def test_the_kit_model_prunes_and_reloads_exactly(tmp_path) -> None:
    model, tokenizer = load("kit:smollm2-135m", compute=EXACT)
    assert model.num_parameters() == 134_515_008
    pruned = prune(
        model, tokenizer, ratio=0.33, calibration="kit:c4", skip_first=3, skip_last=2, in_place=True
    )
    record = read_pruning(pruned)
    assert record["base"] == "kit:smollm2-135m"
    assert {line["kv_heads"] for line in record["blocks"]} == {2, 3}
    save_pruned(pruned, tokenizer, tmp_path / "pruned")
    loaded, _ = load(tmp_path / "pruned", compute=EXACT)
    with torch.no_grad():
        assert (loaded(TOKENS).logits - pruned(TOKENS).logits).abs().max() == 0.0
