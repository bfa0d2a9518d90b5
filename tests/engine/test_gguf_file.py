"""What a GGUF file holds, what cannot be written, and that the old file stays until the new one is whole."""

from __future__ import annotations

import errno
import json
import os

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankadaptor.engine.gguf_file import write_gguf
from rankadaptor.engine.quantisers import dequantise, round_trip
from rankadaptor.errors import InputError, NonFiniteError, StorageError
from rankadaptor.files import compute_file_sha256
from tests.engine.shapes import build_uneven, empty


def test_a_file_says_what_it_is_and_holds_the_weights(pico_model, pico_tokenizer, tmp_path) -> None:
    model = empty(build_uneven(pico_model, "qwen2", groups=[4, 3, 1, 2], channels=[96, 57, 32, 8]), mlp=[3])
    empty(model, attention=[0, 2])
    types = {"model.layers.1.mlp.down_proj": "Q4_0", "model.layers.1.self_attn.q_proj": "q8_0"}
    weights = {"model.layers.1.mlp.down_proj": np.linspace(0, 1, 57)}
    file = tmp_path / "deep" / "m.gguf"
    written = write_gguf(model, pico_tokenizer, file, types=types, importance=weights, name="small")
    assert written.path == file
    assert written.sha256 == compute_file_sha256(file)
    assert file.stat().st_mode & 0o777 == 0o644
    reader = gguf.GGUFReader(file)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    expected = {
        "general.architecture": "deci",
        "general.name": "small",
        "deci.block_count": 4,
        "deci.feed_forward_length": [96, 64, 32, 32],  # padded to 32, and zeros for the one that is removed
        "deci.attention.head_count": [1, 6, 0, 4],  # a head of zeros in block 0, none in block 2
        "deci.attention.head_count_kv": [1, 3, 0, 2],
        "deci.attention.key_length": 16,
        "deci.context_length": 512,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {key: fields[key] for key in expected} == expected
    assert (
        "4 blocks, MLP widths 0 to 96, heads 0 to 6, types F16, Q4_0, Q8_0" in fields["general.description"]
    )
    assert fields["tokenizer.ggml.tokens"][:3] == ["<unk>", "<pad>", "<eos>"]
    assert fields["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert not [name for name in tensors if name.startswith("blk.2.attn")]
    assert {tensor.n_bytes > 0 for tensor in reader.tensors} == {True}
    block = model.model.layers[1]
    down = tensors["blk.1.ffn_down.weight"]
    assert down.tensor_type.name == "Q4_0"
    values = torch.nn.functional.pad(block.mlp.down_proj.weight.detach(), (0, 7)).numpy()
    padded = np.pad(np.linspace(0, 1, 57), (0, 7))
    read = dequantise(down.data, "Q4_0", (32, 64))
    np.testing.assert_array_equal(read, round_trip(values, "Q4_0", importance=padded))
    assert not np.array_equal(read, round_trip(values, "Q4_0"))
    # Row 1 of a head in the file is its row 8 in transformers: the other half of the first rotary pair.
    bias = tensors["blk.1.attn_q.bias"].data
    np.testing.assert_array_equal(bias[:3], block.self_attn.q_proj.bias.detach().numpy()[[0, 8, 1]])
    assert tensors["blk.1.attn_q.weight"].tensor_type.name == "Q8_0"
    for removed in ("blk.0.attn_output.weight", "blk.3.ffn_down.weight"):
        kind = tensors[removed].tensor_type.name
        shape = (32, tensors[removed].shape[0])
        assert not dequantise(tensors[removed].data.view(np.uint8), kind, shape).any()


def test_what_gguf_cannot_hold_is_refused_before_anything_is_written(
    pico_model, pico_tokenizer, tmp_path
) -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    linear = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    file = tmp_path / "sub" / "m.gguf"
    cases = [
        (pico_model("qwen3", 1), r"tie_word_embeddings: false.*--format hf"),
        (pico_model("llama", 1, rope_parameters=yarn), r"rope_type 'yarn'.* scaled as linear or llama3"),
        (pico_model("qwen3", 1, rope_parameters=linear, tie_word_embeddings=True), r"'linear'.*openelm"),
        (pico_model("llama", 1, hidden_act="gelu"), r"hidden_act='gelu'"),
        (pico_model("llama", 1, mlp_bias=True), r"down_proj, gate_proj, up_proj have biases.*deci"),
        (pico_model("mistral", 1, sliding_window=64), r"sliding_window=64 .* 512 tokens.*context=64"),
        (pico_model("llama", 1, vocab_size=100), r"ids up to 127, the model's embedding 100 rows"),
    ]
    for model, message in cases:
        with pytest.raises(InputError, match=message):
            write_gguf(model, pico_tokenizer, file)
    broken = pico_model("llama", 1)
    with torch.no_grad():
        broken.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"cannot be exported.*mlp\.up_proj\.weight \(1 NaN"):
        write_gguf(broken, pico_tokenizer, file)
    with pytest.raises(InputError, match=r"is a folder. Give the name of the file"):
        write_gguf(pico_model("llama", 1), pico_tokenizer, tmp_path)
    assert not file.parent.exists()
    write_gguf(pico_model("mistral", 1, sliding_window=64), pico_tokenizer, file, context=64)
    assert gguf.GGUFReader(file).fields["deci.context_length"].contents() == 64


def test_tokenizers_that_llama_cpp_would_read_differently_are_refused(
    pico_model, pico_tokenizer, tmp_path
) -> None:
    def change(**parts):
        backend = Tokenizer.from_str(pico_tokenizer.backend_tokenizer.to_str())
        for name, part in parts.items():
            setattr(backend, name, part)
        return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(" ", behavior="isolated")
    with_space = pre_tokenizers.ByteLevel(add_prefix_space=True)
    model = pico_model("llama", 1)
    cases = [
        (None, r"tokenizer=None"),
        (change(model=models.WordLevel({"a": 0, "<eos>": 2}, unk_token="a")), r"of the kind WordLevel"),
        (change(normalizer=normalizers.Lowercase()), r"normalises text \(Lowercase\)"),
        (change(pre_tokenizer=pre_tokenizers.Whitespace()), r"splits text by Whitespace, not by bytes"),
        (change(pre_tokenizer=with_space), r"splits text by ByteLevel"),
        (change(pre_tokenizer=pre_tokenizers.Sequence([split, byte_level])), r"no name in llama\.cpp"),
    ]
    for tokenizer, message in cases:
        with pytest.raises(InputError, match=message):
            write_gguf(model, tokenizer, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["tensor data", "last sync"])
def test_a_full_disk_leaves_the_old_file(pico_model, pico_tokenizer, tmp_path, monkeypatch, where) -> None:
    file = tmp_path / "m.gguf"
    old = write_gguf(pico_model("llama", 1), pico_tokenizer, file)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "tensor data":
        monkeypatch.setattr(gguf.GGUFWriter, "write_tensor_data", refuse)
    else:
        monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"m\.gguf.*No space left.*Nothing already measured is lost"):
        write_gguf(pico_model("llama", 2), pico_tokenizer, file)
    assert compute_file_sha256(file) == old.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_the_kits_tokenizer_gets_the_name_of_its_splitter(pico_tokenizer) -> None:
    """SmolLM2's splits off single digits; Llama 3's and Qwen2's regular expressions have names too."""
    from rankadaptor.engine.tokenizer_fields import SPLITS, list_tokenizer_fields

    described = json.loads(pico_tokenizer.backend_tokenizer.to_str())
    byte_level = described["pre_tokenizer"]
    digits = {"type": "Digits", "individual_digits": True}
    splits = [({"type": "Sequence", "pretokenizers": [digits, byte_level]}, "smollm")]
    for regex, name in SPLITS.items():
        split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
        last = byte_level | {"use_regex": False}
        splits.append(({"type": "Sequence", "pretokenizers": [split, last]}, name))
    for pre_tokenizer, name in splits:
        backend = Tokenizer.from_str(json.dumps(described | {"pre_tokenizer": pre_tokenizer}))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<unk>", eos_token="<eos>", pad_token="<pad>"
        )
        tokenizer.chat_template = "{{ messages }}"
        fields = {field.key: field.value for field in list_tokenizer_fields(tokenizer, vocabulary=130)}
        assert fields["tokenizer.ggml.pre"] == name
        assert fields["tokenizer.ggml.tokens"][-2:] == ["[PAD128]", "[PAD129]"]
        assert fields["tokenizer.ggml.token_type"][-2:] == [5, 5]
        assert fields["tokenizer.ggml.bos_token_id"] == 0
        assert fields["tokenizer.chat_template"] == "{{ messages }}"
