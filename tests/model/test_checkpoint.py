from __future__ import annotations

import json
import resource

import pytest
import torch

from rankadaptor.errors import CheckpointError, InputError, StorageError
from rankadaptor.model import digest_model, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.pruning import prune


@pytest.fixture
def pruned(pico_model):
    return prune(pico_model("llama", 3), None, ratio=0.4, importance="l2", skip_first=1)


def test_cut_off_weights_are_named(pruned, tmp_path) -> None:
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    for damaged in (content[: len(content) // 2], content[:5], b"", b"\xff" * 64):
        weights.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged or cut short"):
            load_checkpoint(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        load_checkpoint(folder)


def test_a_missing_or_unfinished_shard_is_named(pruned, tmp_path) -> None:
    folder = tmp_path / "sharded"
    pruned.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    assert digest_model(load_checkpoint(folder)) == digest_model(pruned)
    shards[-1].rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match=f"{shards[-1].name}: missing"):
        load_checkpoint(folder)
    shards[-1].symlink_to("blobs/gone")  # as a cache of a hub leaves it
    with pytest.raises(
        CheckpointError, match=f"{shards[-1].name}: a link to blobs/gone, which does not exist"
    ):
        load_checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").symlink_to("blobs/gone")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: a link to blobs/gone"):
        load_checkpoint(folder)


def test_weights_of_another_shape_are_refused(pruned, tmp_path) -> None:
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    config = json.loads((folder / "config.json").read_text())
    del config["per_layer_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"other shapes: model\.layers\.1\..* instead of \["):
        load_checkpoint(folder)


def test_weights_of_other_blocks_are_refused(pico_model, tmp_path) -> None:
    folder = save_pruned(pico_model("llama", 2), None, tmp_path / "whole")
    config = json.loads((folder / "config.json").read_text())
    for blocks, complaint in ((3, r"missing: model\.layers\.2"), (1, r"not in the model: model\.layers\.1")):
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": blocks}))
        with pytest.raises(CheckpointError, match=complaint):
            load_checkpoint(folder)


def test_a_folder_without_a_usable_configuration_is_named(pruned, tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json here"):
        load_checkpoint(tmp_path)
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    (folder / "config.json").write_text('{"model_type": "llama",')
    with pytest.raises(CheckpointError, match=r"config\.json:1: not valid JSON"):
        load_checkpoint(folder)
    (folder / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(InputError, match="Supported: llama"):
        load_checkpoint(folder)


def test_a_disk_that_fills_up_at_the_tokenizer_is_named(pico_model, pico_tokenizer, tmp_path) -> None:
    """The tokenizer is written by a library in Rust, which raises no OSError."""
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "num_key_value_heads": 1}
    model = pico_model("llama", 1, **sizes, head_dim=4, tie_word_embeddings=True)
    save_pruned(model, pico_tokenizer, tmp_path / "there")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "there").iterdir()}
    assert sizes["model.safetensors"] < sizes["tokenizer.json"] - 10
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes["tokenizer.json"] - 5, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"new: cannot be written .*os error.*Free space"):
            save_pruned(model, pico_tokenizer, tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_full_disk_leaves_the_checkpoint_that_was_there(pico_model, pruned, tmp_path) -> None:
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # files may not grow beyond 8 kB: a real refusal
    try:
        with pytest.raises(StorageError, match=r"pruned: .*cannot be written.*unchanged|Nothing already"):
            save_pruned(pico_model("llama", 3), None, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digest_model(load_checkpoint(folder)) == digest_model(pruned)
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]


def test_a_place_that_cannot_be_written_is_named(pruned, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"file/pruned: cannot be written"):
        save_pruned(pruned, None, tmp_path / "file" / "pruned")


def test_saving_again_replaces_weights_and_keeps_other_files(pico_model, pruned, tmp_path) -> None:
    folder = save_pruned(pruned, None, tmp_path / "pruned")
    (folder / "notes.md").write_text("mine")
    save_pruned(pico_model("llama", 3), None, folder)
    assert (folder / "notes.md").read_text() == "mine"
    assert not (folder / "modeling_pruned.py").exists()
    assert load_checkpoint(folder).config.intermediate_size == 64
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_of_other_things_is_not_overwritten(pruned, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not a checkpoint"):
        save_pruned(pruned, None, tmp_path)
    assert (tmp_path / "thesis.tex").is_file()


def test_precision_is_kept_or_chosen(pico_model, tmp_path) -> None:
    model = prune(pico_model("qwen3", 2).to(torch.bfloat16), None, ratio=0.3, importance="l2", skip_first=1)
    folder = save_pruned(model, None, tmp_path / "half")
    assert load_checkpoint(folder).dtype == torch.bfloat16
    assert load_checkpoint(folder, dtype=torch.float32).dtype == torch.float32
    assert digest_model(load_checkpoint(folder)) == digest_model(model)


def test_a_checkpoint_in_shards_loads_equal_and_prunes_equal(pico_model, pico_tokenizer, tmp_path) -> None:
    model = pico_model("qwen3", 3)
    one = save_pruned(model, pico_tokenizer, tmp_path / "one")
    many = save_pruned(model, pico_tokenizer, tmp_path / "many", max_shard_size="20KB")
    assert len(list(one.glob("*.safetensors"))) == 1
    assert len(list(many.glob("*.safetensors"))) > 2
    models = [load_checkpoint(folder) for folder in (one, many)]
    assert digest_model(models[0]) == digest_model(models[1]) == digest_model(model)
    pruned = [
        prune(each, pico_tokenizer, ratio=0.3, importance="l2", scope="global", in_place=True)
        for each in models
    ]
    assert digest_model(pruned[0]) == digest_model(pruned[1])
    again = save_pruned(pruned[1], pico_tokenizer, tmp_path / "pruned", max_shard_size="20KB")
    assert digest_model(load_checkpoint(again)) == digest_model(pruned[1])
