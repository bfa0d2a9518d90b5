"""Folders of adapters: they name the weights they belong to, and every attachment compares them."""

from __future__ import annotations

import copy
import json
import resource

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel

from rankadaptor.components.adapter.lora import load_adapter
from rankadaptor.errors import CheckpointError, StorageError
from rankadaptor.model import digest_model, save_pruned
from rankadaptor.named_models import load
from rankadaptor.pruning import prune
from rankadaptor.recovery import recover

TOKENS = torch.arange(3, 20)[None]


def read_logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def read_base_name(folder):
    return json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]


@pytest.fixture
def dense(pico_model, pico_tokenizer, compute, tmp_path):
    """A model of four blocks, loaded from a folder."""
    save_pruned(pico_model("llama", 4), pico_tokenizer, tmp_path / "dense")
    return load(tmp_path / "dense", compute=compute)[0]


@pytest.fixture
def recovered(dense, pico_tokenizer, rows, recipe, compute):
    """Two of its blocks pruned, and the rest recovered in a few steps."""
    from rankadaptor.components.adapter import RankSpace

    pruned = prune(dense, pico_tokenizer, ratio=0.5, targets=["blocks"], importance="l2")
    uniform = RankSpace.from_model(pruned, like_uniform=2, slots="linear").reference()
    before, flags = read_logits(pruned), [value.requires_grad for value in pruned.parameters()]
    adapter = recover(pruned, pico_tokenizer, uniform, data=rows, recipe=recipe, steps=3, compute=compute)
    # The input is what it was, and shares its weights with the result.
    assert torch.equal(read_logits(pruned), before)
    assert [value.requires_grad for value in pruned.parameters()] == flags
    assert not torch.equal(read_logits(adapter), before)
    embedding = pruned.get_input_embeddings().weight
    assert adapter.get_base_model().get_input_embeddings().weight.data_ptr() == embedding.data_ptr()
    return pruned, adapter


def test_an_adapter_names_the_weights_it_was_trained_on_or_none(
    dense, recovered, pico_tokenizer, compute, tmp_path
):
    pruned, adapter = recovered
    expected = read_logits(adapter)

    adapter.save_pretrained(tmp_path / "nameless")
    assert read_base_name(tmp_path / "nameless") is None
    assert load_adapter(copy.deepcopy(pruned), tmp_path / "nameless")

    save_pruned(pruned, pico_tokenizer, tmp_path / "pruned")  # also after the recovery
    adapter.save_pretrained(tmp_path / "adapter")
    assert read_base_name(tmp_path / "adapter") == str((tmp_path / "pruned").resolve())
    plain = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.equal(read_logits(plain), expected)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert "More Information Needed" not in card
    about = json.loads((tmp_path / "adapter" / "rankadaptor.json").read_text())
    assert about["base"]["digest"] in card

    # The shapes of two of four blocks fit; the weights do not.
    with pytest.raises(CheckpointError, match=f"{about['base']['digest']}.*pruned.*but the model has"):
        load_adapter(dense, tmp_path / "adapter")
    assert not any("lora" in name for name, _ in dense.named_modules())

    # A model has one digest in both precisions of training.
    brief = load(tmp_path / "pruned", compute=compute)[0].to(torch.bfloat16)
    assert load_adapter(brief, tmp_path / "adapter")

    # A folder that holds other weights by now is not named.
    save_pruned(dense, None, tmp_path / "pruned")
    adapter.save_pretrained(tmp_path / "adapter")
    assert read_base_name(tmp_path / "adapter") is None


def test_a_merged_model_is_another(recovered, pico_tokenizer, tmp_path):
    pruned, adapter = recovered
    save_pruned(pruned, pico_tokenizer, tmp_path / "pruned")
    before = digest_model(pruned)
    merged = adapter.merge_and_unload()  # the weights that it shares are not merged into
    assert merged.name_or_path == ""
    assert digest_model(merged) != before == digest_model(pruned)


def test_what_is_damaged_missing_or_misfitting_is_named(recovered, pico_model, tmp_path):
    pruned, adapter = recovered
    folder = tmp_path / "adapter"
    adapter.save_pretrained(folder)
    weights, about = folder / "adapter_model.safetensors", folder / "rankadaptor.json"
    whole, said = weights.read_bytes(), about.read_text()

    def refuse(match, model=pruned):
        with pytest.raises(CheckpointError, match=match):
            load_adapter(model, folder)

    weights.write_bytes(whole[:-4] + bytes(4))
    refuse("adapter_model.safetensors: not what was written .SHA-256 stored")
    weights.unlink()
    refuse("adapter_model.safetensors: missing")
    weights.write_bytes(whole)
    about.write_text("[")
    refuse("rankadaptor.json:1: not valid JSON")

    # Without a digest, as plain PEFT leaves it: names and shapes are compared strictly.
    about.unlink()
    weights.write_bytes(whole[:-40])
    refuse("adapter_model.safetensors: damaged or cut short")
    weights.write_bytes(whole)
    refuse(
        "down_proj has 48 inputs, the adapter was trained for 64",
        pico_model("llama", 2, intermediate_size=48),
    )
    refuse("no linear model.layers.1", pico_model("llama", 1))
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors.popitem()
    save_file(tensors, weights)
    bare = copy.deepcopy(pruned)
    refuse("lora_.* is missing", bare)
    assert torch.equal(read_logits(bare), read_logits(pruned))
    weights.write_bytes(whole)
    again = load_adapter(bare, folder)
    assert torch.equal(read_logits(again), read_logits(adapter))
    (folder / "adapter_config.json").unlink()
    refuse("no adapter_config.json")
    about.write_text(said)


def test_a_disk_that_fills_up_leaves_the_adapter_that_was_there(recovered, tmp_path):
    _, adapter = recovered
    folder = tmp_path / "adapter"
    adapter.save_pretrained(folder)
    (folder / "README.md").write_text("# My card\n")
    (folder / "checkpoint").mkdir()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with torch.no_grad():
        for name, value in adapter.named_parameters():
            if "lora_B" in name:
                value.add_(1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"adapter: cannot be written .*same command"):
            adapter.save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    adapter.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "# My card\n"
    assert (folder / "checkpoint").is_dir()
    assert isinstance(PeftModel.from_pretrained(adapter.unload(), folder), PeftModel)
