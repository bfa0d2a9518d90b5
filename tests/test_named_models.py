from __future__ import annotations

import copy
import shutil

import pytest
import torch

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.model import digest_model, read_pruning, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.named_models import find_model_folder, load, load_tokenizer
from rankadaptor.pruning import prune
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
    paths = ["./nothing", "nothing", "~/nothing/here", "a/b/c", r"C:\models\mine", r"models\mine/x", "org/"]
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for source in (tmp_path / "nothing", str(tmp_path / "nothing"), tmp_path / "dangling", *paths):
        with pytest.raises(CheckpointError, match=r"no such folder.*kit:smollm2-135m"):
            load(source, compute=EXACT)
    with pytest.raises(CheckpointError, match=r"some-org/some-model: not fetched.*kit:smollm2-135m"):
        load("some-org/some-model", compute=EXACT)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: a file\. Give the folder"):
        load(tmp_path / "model.safetensors", compute=EXACT)


def test_bin_files_of_a_hub_are_fetched_for_want_of_others(pico_model, tmp_path, monkeypatch) -> None:
    import huggingface_hub

    model = pico_model("llama", 1)
    remote, cache = save_pruned(model, None, tmp_path / "remote"), tmp_path / "cache"
    cache.mkdir()
    torch.save(model.state_dict(), remote / "pytorch_model.bin")

    def download(_name: str, *, allow_patterns: list[str], **_: object) -> str:  # a hub that is a folder
        for path in [path for pattern in allow_patterns for path in remote.glob(pattern)]:
            shutil.copy(path, cache)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    find_model_folder("some-org/some-model")
    assert not (cache / "pytorch_model.bin").exists()
    for folder in (remote, cache):
        (folder / "model.safetensors").unlink()
    find_model_folder("some-org/some-model")
    assert digest_model(load_checkpoint(cache)) == digest_model(model)


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_folder_with_files_of_windows_tools_loads_the_same(pico_model, pico_tokenizer, tmp_path, encoding):
    model, tokenizer = pico_model(blocks=1), copy.deepcopy(pico_tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    save_pruned(model, tokenizer, tmp_path / "model")
    names = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")
    for name in (*names, "chat_template.jinja"):
        path = tmp_path / "model" / name
        path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    loaded, reader = load(tmp_path / "model", compute=EXACT)
    assert loaded.num_parameters() == model.num_parameters()
    assert reader.chat_template == tokenizer.chat_template
    assert reader("A fox.")["input_ids"] == tokenizer("A fox.")["input_ids"]
    (tmp_path / "model" / "tokenizer_config.json").write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(InputError, match="iconv -f LATIN1"):
        load(tmp_path / "model")
