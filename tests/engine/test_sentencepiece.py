"""Tokenizers that came from SentencePiece: written as scores where these say the same as the merges."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rankadaptor.engine.tokenizer_fields import list_tokenizer_fields
from rankadaptor.errors import InputError

BYTES = [f"<0x{value:02X}>" for value in range(256)]
WORDS = ["▁t", "he", "▁the"]  # as SentencePiece orders them: by score
PAIRS = [("▁", "t"), ("h", "e"), ("▁t", "he")]


def make_tokenizer(*, words=WORDS, merges=PAIRS, missing=(), prepare=None) -> PreTrainedTokenizerFast:
    texts = ["<unk>", "<s>", "</s>", *BYTES, *words, "▁", "t", "h", "e"]
    vocabulary = {text: index for index, text in enumerate(texts) if text not in missing}
    model = models.BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    default = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    setattr(tokenizer, *(prepare or ("pre_tokenizer", default)))
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_merges_become_scores() -> None:
    older = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bare = normalizers.Replace(" ", "▁")
    cases = [(None, True), (("normalizer", older), True), (("normalizer", bare), False)]
    for prepare, prefix in cases:
        tokenizer = make_tokenizer(prepare=prepare)
        fields = {field.key: field.value for field in list_tokenizer_fields(tokenizer, vocabulary=266)}
        assert fields["tokenizer.ggml.model"] == "llama"
        assert fields["tokenizer.ggml.add_space_prefix"] is prefix
        assert "tokenizer.ggml.merges" not in fields
        score = dict(zip(fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.scores"], strict=True))
        assert score["▁t"] > score["he"] > score["▁the"] > score["e"]
        assert fields["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]
        assert fields["tokenizer.ggml.token_type"][259] == 1


def test_what_scores_cannot_say_is_refused() -> None:
    lowercase = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    longer = [*WORDS, "▁th"]
    apart = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁t", "h"), ("▁th", "e")]
    cases = [
        (make_tokenizer(missing=["<0x41>"]), "falls back to bytes that are not all"),
        (make_tokenizer(prepare=("normalizer", lowercase)), "spaces in a way of its own"),
        (make_tokenizer(words=longer, merges=apart[:4]), "never merges '▁th' with 'e', although"),
        (make_tokenizer(words=longer, merges=apart), "in an order that scores of tokens cannot express"),
    ]
    for tokenizer, message in cases:
        with pytest.raises(InputError, match=message):
            list_tokenizer_fields(tokenizer, vocabulary=300)
    together = [*apart[:2], apart[3], apart[2], apart[4]]
    list_tokenizer_fields(make_tokenizer(words=longer, merges=together), vocabulary=300)
