"""Models written for use elsewhere: adapters merged, both formats, cards, and what cannot be written."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
import torch

import rankadaptor as ra
from rankadaptor.cli import main
from rankadaptor.components.adapter.lora import attach_adapter
from rankadaptor.deployment.cards import MARK
from rankadaptor.engine.quantisers import round_trip
from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.model import digest_model
from rankadaptor.model.checkpoint import load_checkpoint
from tests.engine.shapes import build_uneven, drop

TOKENS = torch.arange(3, 35).reshape(2, 16)


@pytest.fixture(scope="module")
def adapted(pico_model, pico_tokenizer, tmp_path_factory):
    """An uneven model on disk, an adapter on disk that was trained for it, and its merged weights."""
    folder = tmp_path_factory.mktemp("adapted")
    model = drop(build_uneven(pico_model, "llama"), mlp=[2])
    ra.save_pruned(model, pico_tokenizer, folder / "pruned")
    model, _ = ra.load(folder / "pruned", compute=ra.choose_compute(device="cpu", dtype="float32"))
    space = ra.RankSpace.from_model(model, like_uniform=2, slots="linear")
    carrier = attach_adapter(model, space.reference(), ra.Recipe(), seed=3)
    with torch.no_grad():
        for name, parameter in carrier.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    carrier.save_pretrained(folder / "adapter")
    return folder, carrier


def test_an_adapter_is_merged_into_a_gguf_file_and_a_folder(
    adapted, pico_tokenizer, tmp_path, capsys
) -> None:
    folder, carrier = adapted
    with torch.no_grad():
        expected = carrier(TOKENS).logits
    before = digest_model(carrier)
    written = ra.export(
        carrier, pico_tokenizer, tmp_path / "api.gguf", default_type="f32", embedding_type="Q8_0"
    )
    assert digest_model(carrier) == before  # the model and its adapter are as they were
    assert written.bytes == written.path.stat().st_size

    source, adapter, file = (
        str(path) for path in (folder / "pruned", folder / "adapter", tmp_path / "m.gguf")
    )
    words = ["export", source, "--adapter", adapter, "--type", "F32", "--embedding-type", "q8_0", "-o", file]
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["path"] == file
    assert shown["bytes"] == written.bytes
    one, other = (gguf.GGUFReader(path) for path in (file, written.path))
    assert all(np.array_equal(a.data, b.data) for a, b in zip(one.tensors, other.tensors, strict=True))
    assert one.fields["general.name"].contents() == "pruned"

    assert main(["export", source, "--adapter", adapter, "--output", str(tmp_path / "hf")]) == 0
    merged = load_checkpoint(tmp_path / "hf")
    with torch.no_grad():
        assert (merged(TOKENS).logits - expected).abs().max() < 1e-5
    tensors = {tensor.name: tensor for tensor in one.tensors}
    weight = merged.model.layers[1].mlp.up_proj.weight.detach().numpy()
    np.testing.assert_allclose(tensors["blk.1.ffn_up.weight"].data[:57], weight, atol=1e-6)
    rounded = round_trip(merged.model.embed_tokens.weight.detach().numpy(), "Q8_0")
    raw = tensors["token_embd.weight"]
    np.testing.assert_array_equal(gguf.quants.dequantize(raw.data, raw.tensor_type), rounded)

    for card, parts in (
        (
            tmp_path / "m.md",
            ("`pruned` with its adapter merged", "| Q8_0 |", "| 2 | 2 | 1 | 0 |", shown["sha256"]),
        ),
        (tmp_path / "hf" / "README.md", ("trust_remote_code=True", "vllm serve", "| 1 | 6 | 3 | 57 |")),
    ):
        text = card.read_text()
        assert MARK in text
        assert [part for part in parts if part not in text] == []
    (tmp_path / "m.md").write_text("mine")
    assert main(words) == 0
    assert (tmp_path / "m.md").read_text() == "mine"


def test_what_cannot_be_written_is_said_first(adapted, pico_model, pico_tokenizer, tmp_path, capsys) -> None:
    folder, carrier = adapted
    plain, file = pico_model("llama", 1), tmp_path / "m.gguf"
    qwen3 = ra.save_pruned(pico_model("qwen3", 1), pico_tokenizer, tmp_path / "qwen3")
    cases = [
        ({"form": "onnx"}, InputError, r"form='onnx': allowed are gguf and hf"),
        ({"form": "hf", "default_type": "Q4_0"}, InputError, r"default_type: a Hugging Face folder keeps"),
        ({"adapter": folder / "adapter"}, CheckpointError, r"was trained on the weights"),
        ({"default_type": "Q4_K"}, InputError, r"model\.embed_tokens: Q4_K .* 256"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message):
            ra.export(plain, pico_tokenizer, file, **options)
    with pytest.raises(InputError, match="carries an adapter already"):
        ra.export(carrier, pico_tokenizer, file, adapter=folder / "adapter")
    for words, message in (
        (["--type", "Q9_9"], "no tensor type 'Q9_9'"),
        (["--adapter", str(tmp_path)], "no adapter_config.json"),
        ([], "tie_word_embeddings: false"),
    ):
        assert main(["export", str(qwen3), "--output", str(file), *words]) == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["qwen3"]
