"""What saving into a folder replaces, keeps, and in which precision."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from rankadaptor.errors import InputError
from rankadaptor.model import digest_model, replacement, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.named_models import load
from rankadaptor.pruning import prune
from rankadaptor.runtime import choose_compute

EXACT = choose_compute(device="cpu", dtype="float32")
OTHERS = {
    "adapter_model.safetensors": "an adapter",
    "adapter_model.bin": "an adapter",
    "model.fp16.safetensors": "a variant",
    "scaler.safetensors": "another thing",
    "README.md": "a card",
    "tokenizer.model": "a tokenizer",
    "checkpoint-5/optimizer.bin": "a subfolder",
    ".hidden": "mine",
}
STALE = (
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model.bin.index.json",
    "modeling_pruned.py",
)


def fill(folder) -> None:
    for name, content in {**OTHERS, **dict.fromkeys(STALE, "{}")}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)


def check_others(folder) -> None:
    assert {name: (folder / name).read_text() for name in OTHERS} == OTHERS


@pytest.mark.parametrize("how", ["exchange", "renames", "mount point"])
def test_only_files_of_the_model_itself_are_replaced(pico_model, tmp_path, monkeypatch, how) -> None:
    if how == "renames":
        monkeypatch.setattr(replacement, "_exchange", lambda *_: False)
    folder = save_pruned(pico_model("llama", 2), None, tmp_path / "model")
    if how == "mount point":
        monkeypatch.setattr(type(folder), "is_mount", lambda self: self == folder)
    fill(folder)
    folder.chmod(0o775)
    model = pico_model("llama", 3)
    save_pruned(model, None, folder)
    check_others(folder)
    assert [name for name in STALE if (folder / name).exists()] == []
    assert digest_model(load_checkpoint(folder)) == digest_model(model)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert folder.stat().st_mode & 0o777 == 0o775
    expected = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        *(n.split("/")[0] for n in OTHERS),
    }
    assert {path.name for path in folder.iterdir()} == expected


@pytest.mark.parametrize("how", ["link", "exchange", "renames", "mount point"])
def test_what_was_there_is_whole_wherever_saving_breaks_off(pico_model, tmp_path, monkeypatch, how) -> None:
    old, new = pico_model("llama", 2), pico_model("llama", 3)
    folder = save_pruned(old, None, tmp_path / "model")
    fill(folder)
    (folder / STALE[0]).unlink()

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    if how == "mount point":
        monkeypatch.setattr(type(folder), "is_mount", lambda self: self == folder)
    if how in ("renames", "mount point"):
        monkeypatch.setattr(replacement, "_exchange", lambda *_: False)
        rename = type(folder).rename
        moved = "config.json" if how == "mount point" else "model"

        def refuse_last(self, target):
            new_one = self.parent.name.startswith(".model.") or self.name.startswith(".model.")
            back = self.parent.name.endswith(".old") or self.name.endswith(".old")
            if new_one and not back and type(self)(target).name == moved:
                refuse()
            return rename(self, target)

        monkeypatch.setattr(type(folder), "rename", refuse_last)
    else:
        monkeypatch.setattr(replacement, "_link" if how == "link" else "_exchange", refuse)
    with pytest.raises(OSError, match=r"No space left.*Nothing already measured is lost"):
        save_pruned(new, None, folder)
    monkeypatch.undo()
    check_others(folder)
    assert digest_model(load_checkpoint(folder)) == digest_model(old)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".model.")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="exchanged in one step on Linux alone")
def test_a_process_that_is_killed_leaves_one_of_the_two_whole(pico_model, tmp_path) -> None:
    fresh, folder = tmp_path / "fresh", tmp_path / "folder"
    for each in (fresh, folder):
        each.mkdir()
        (each / "config.json").write_text(each.name)
    code = (
        "import os, shutil, sys; from pathlib import Path; from rankadaptor.model import replacement\n"
        "shutil.rmtree = lambda *_, **__: os._exit(9)\n"  # right after the exchange
        "replacement.replace_folder(Path(sys.argv[1]), Path(sys.argv[2]), is_stale=lambda _: False)"
    )
    done = subprocess.run([sys.executable, "-c", code, fresh, folder], check=False)
    assert done.returncode == 9
    assert (folder / "config.json").read_text() == "fresh"
    assert (fresh / "config.json").read_text() == "folder"


def test_links_and_the_working_folder_stay_where_they_are(pico_model, tmp_path, monkeypatch) -> None:
    small, large = pico_model("llama", 1), pico_model("llama", 2)
    real = save_pruned(small, None, tmp_path / "real")
    (real / "README.md").write_text("mine")
    (tmp_path / "link").symlink_to(real)
    save_pruned(large, None, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert digest_model(load_checkpoint(real)) == digest_model(large)
    monkeypatch.chdir(real)
    save_pruned(small, None, ".")
    assert os.path.samefile(".", real)  # noqa: PTH121
    assert digest_model(load_checkpoint(real)) == digest_model(small)
    assert (real / "README.md").read_text() == "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    save_pruned(large, None, "~/at-home")
    assert digest_model(load_checkpoint("~/at-home")) == digest_model(large)
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link", "at-home"}


def test_a_derived_model_is_not_covered_up(pico_model, tmp_path) -> None:
    folder = save_pruned(pico_model("llama", 1), None, tmp_path / "model")
    (folder / "descendant.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds a derived model"):
        save_pruned(pico_model("llama", 1), None, folder)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_pruned_folder_keeps_the_precision_of_its_source(
    pico_model, pico_tokenizer, tmp_path, caplog, dtype, kind
) -> None:
    caplog.set_level(logging.INFO, logger="rankadaptor")
    half = pico_model("llama", 3, tie_word_embeddings=True).to(dtype)
    source = save_pruned(half, pico_tokenizer, tmp_path / "source")
    if kind == "bin":
        (source / "model.safetensors").unlink()
        torch.save(half.state_dict(), source / "pytorch_model.bin")
    model, _ = load(source, compute=EXACT)
    pruned = prune(model, None, ratio=0.4, importance="l2", skip_first=1)
    folder = save_pruned(pruned, pico_tokenizer, tmp_path / "pruned", max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert {each.dtype for file in folder.glob("*.safetensors") for each in load_file(file).values()} == {
        dtype
    }
    assert load_checkpoint(folder).dtype == dtype
    assert "as in their source; nothing is rounded" in caplog.text
    # What computes in float32 reads the same numbers as before it was saved.
    assert digest_model(load(folder, compute=EXACT)[0]) == digest_model(pruned)
    assert digest_model(load_checkpoint(folder)) == digest_model(pruned.to(dtype))


def test_what_a_narrower_precision_would_round_is_kept_or_asked_for(pico_model, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="rankadaptor")
    source = save_pruned(pico_model("llama", 1).to(torch.bfloat16), None, tmp_path / "source")
    model = load_checkpoint(source, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(1.001)  # trained, or an adapter merged
    folder = save_pruned(model, None, tmp_path / "saved")
    assert digest_model(load_checkpoint(folder)) == digest_model(model)
    assert "saved in float32" in caplog.text
    assert load_checkpoint(save_pruned(model, None, folder, dtype="bfloat16")).dtype == torch.bfloat16
    wide = pico_model("llama", 1)
    assert load_checkpoint(save_pruned(wide, None, folder, dtype=torch.float16)).dtype == torch.float16
    assert wide.dtype == torch.float32
    with torch.no_grad():
        wide.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up_proj\.weight: .*1e\+06.*range of float16"):
        save_pruned(wide, None, folder, dtype="float16")
    with pytest.raises(InputError, match=r"dtype='int8': allowed are float32"):
        save_pruned(wide, None, folder, dtype="int8")
