"""A derived model's folder gives back the healed model, built in the cache from its base."""

from __future__ import annotations

import pytest
import torch

from rankadaptor.errors import CheckpointError
from rankadaptor.model import describe_linears, digest_model, read_pruning, save_pruned
from rankadaptor.model.checkpoint import load_checkpoint
from rankadaptor.named_models import load
from rankadaptor.pruning import prune
from rankadaptor.pruning.derived_models import cut_model, merge_healing, write_derived_model
from rankadaptor.runtime import choose_compute

EXACT = choose_compute(device="cpu", dtype="float32")
TOKENS = torch.randint(3, 100, (2, 10), generator=torch.Generator().manual_seed(3))
CUTS = {
    "shallow": {"removed_blocks": (1, 2)},
    "narrow": {"removed_groups": {"0.channels": (0, 9, 63), "2.channels": tuple(range(8)), "1.heads": (1,)}},
    "both": {"removed_blocks": (3,), "removed_groups": {"0.channels": (0, 3)}},
}


@pytest.fixture
def base(pico_model, pico_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKADAPTOR_HOME", str(tmp_path / "home"))
    return save_pruned(pico_model("llama", 4), pico_tokenizer, tmp_path / "base")


def draw_healing(model, *, rank: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    healing = {}
    for linear in describe_linears(model):
        for part, shape in (("a", (rank, linear.in_features)), ("b", (linear.out_features, rank))):
            healing[f"{linear.name}.{part}"] = torch.randn(shape, generator=generator).bfloat16() / 16
    return healing


def make(base, folder, cut):
    model = load_checkpoint(base)
    cut_model(model, **CUTS[cut])
    healing = draw_healing(model)
    merge_healing(model, healing)
    write_derived_model(folder, model, name="small", base=str(base), healing=healing, **CUTS[cut])
    return model


@pytest.mark.parametrize("cut", CUTS)
def test_the_folder_gives_back_the_healed_model(base, tmp_path, pico_tokenizer, cut, caplog) -> None:
    model = make(base, tmp_path / "small", cut)
    loaded, tokenizer = load(tmp_path / "small", compute=EXACT)
    with torch.no_grad():
        assert torch.equal(loaded(TOKENS).logits, model.float()(TOKENS).logits)
        cached, plain = (
            loaded.generate(TOKENS, max_new_tokens=5, do_sample=False, use_cache=use) for use in (True, False)
        )
    assert torch.equal(cached, plain)
    assert tokenizer("A river")["input_ids"] == pico_tokenizer("A river")["input_ids"]
    assert read_pruning(loaded) is None  # a base model of its own
    assert loaded.config._name_or_path == "small"
    assert "not those it was published with" not in caplog.text
    again = prune(loaded, None, ratio=0.3, importance="l2", targets=["channels"], scope="global")
    assert len(read_pruning(again)["blocks"]) == len(loaded.model.layers)


def test_it_is_built_once_and_again_when_it_changes(base, tmp_path) -> None:
    make(base, tmp_path / "small", "shallow")
    first, _ = load(tmp_path / "small", compute=EXACT)
    marker = tmp_path / "home" / "models" / "small" / "complete.json"
    built = marker.stat().st_mtime_ns
    load(tmp_path / "small", compute=EXACT)
    assert marker.stat().st_mtime_ns == built
    make(base, tmp_path / "small", "both")
    other, _ = load(tmp_path / "small", compute=EXACT)
    assert digest_model(other) != digest_model(first)


def test_its_sizes_are_known_without_building(base, tmp_path) -> None:
    from rankadaptor.planning.shape import read_shape

    model = make(base, tmp_path / "small", "both")
    assert read_shape(str(tmp_path / "small")).parameters == model.num_parameters()
    assert not (tmp_path / "home").exists()


def test_what_is_broken_is_named(base, tmp_path) -> None:
    folder = tmp_path / "small"
    make(base, folder, "shallow")
    healing = folder / "healing.safetensors"
    healing.write_bytes(healing.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"healing\.safetensors: damaged or cut short"):
        load(folder, compute=EXACT)
    healing.unlink()
    with pytest.raises(CheckpointError, match=r"healing\.safetensors: missing"):
        load(folder, compute=EXACT)
    (folder / "descendant.json").write_text('{"schema": 7}')
    with pytest.raises(CheckpointError, match=r"descendant\.json: not a derived model of schema 1"):
        load(folder, compute=EXACT)


def test_another_base_is_noticed(pico_model, pico_tokenizer, base, tmp_path, caplog) -> None:
    make(base, tmp_path / "small", "shallow")
    save_pruned(pico_model("llama", 4, seed=5), pico_tokenizer, base)
    load(tmp_path / "small", compute=EXACT)
    assert "not those it was published with" in caplog.text


def test_a_published_derived_model_says_how_it_is_built(tmp_path, monkeypatch) -> None:
    from rankadaptor.planning.shape import read_shape

    monkeypatch.setenv("RANKADAPTOR_HOME", str(tmp_path / "home"))
    for ask in (load, read_shape):
        with pytest.raises(CheckpointError, match=r"not built here yet.*meta_data/models/smollm2-12blocks"):
            ask("kit:smollm2-12blocks")
