"""A Hugging Face tokenizer as metadata of a GGUF file; what llama.cpp would split differently is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rankadaptor.engine.file_plan import Field
from rankadaptor.engine.sentencepiece import (
    BYTE,
    SPACE,
    UNKNOWN,
    count_scores,
    find_fault,
    find_kind,
    find_prefix,
    is_sentencepiece,
    read_pairs,
)
from rankadaptor.errors import InputError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLITS: Mapping[str, str] = MappingProxyType(
    {
        rf"{_ENDINGS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}": "llama-bpe",
        rf"{_ENDINGS}|{_WORDS}|\p{{N}}|{_REST}": "qwen2",
    }
)
"""Regular expression of a splitter → llama.cpp's name for it (`tokenizer.ggml.pre`)."""
INSTEAD = (
    "Write a Hugging Face folder instead (--format hf), or give the tokenizer the model was published with."
)


def list_tokenizer_fields(tokenizer: Any, *, vocabulary: int) -> list[Field]:
    """List the metadata that lets llama.cpp tokenize as a tokenizer does.

    Args:
        tokenizer: A fast tokenizer with byte-level BPE, as GPT-2, Llama 3, SmolLM and Qwen have, or one
            that was converted from SentencePiece BPE, as Llama 2 and Mistral have.
        vocabulary: Rows of the model's embedding; ids without a token get a placeholder.

    Raises:
        InputError: If GGUF, or llama.cpp, cannot hold it; the message says why.
    """
    if tokenizer is None:
        raise InputError("tokenizer=None: a GGUF file holds its tokenizer. Give that of the model.")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _refuse(tokenizer, "has no tokenizer.json form (a slow tokenizer)")
    described = json.loads(backend.to_str())
    _check_model(tokenizer, described["model"])
    pieces = is_sentencepiece(described)
    pre = "default" if pieces else _find_splitter(tokenizer, described)
    if pieces and (fault := find_fault(described)):
        raise _refuse(tokenizer, fault)
    tokens, kinds = _list_tokens(tokenizer, described, vocabulary=vocabulary)
    if pieces:
        tokens = _restore_spaces(tokens, kinds)
        order = Field("tokenizer.ggml.scores", "float32s", count_scores(described, tokens))
    else:
        merges = [" ".join(pair) for pair in read_pairs(described["model"])]
        order = Field("tokenizer.ggml.merges", "strings", merges)
    begins, ends = _find_additions(tokenizer)
    fields = [
        Field("tokenizer.ggml.model", "string", "llama" if pieces else "gpt2"),
        Field("tokenizer.ggml.pre", "string", pre),
        Field("tokenizer.ggml.tokens", "strings", tokens),
        Field("tokenizer.ggml.token_type", "int32s", kinds),
        order,
        *_list_special_tokens(tokenizer),
        Field("tokenizer.ggml.add_space_prefix", "bool", pieces and bool(find_prefix(described))),
        Field("tokenizer.ggml.add_bos_token", "bool", begins),
        Field("tokenizer.ggml.add_eos_token", "bool", ends),
    ]
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):  # named templates, of which a file has one
        template = template.get("default")
    return [*fields, Field("tokenizer.chat_template", "string", template)] if template else fields


def _refuse(tokenizer: Any, why: str) -> InputError:
    return InputError(f"The tokenizer {type(tokenizer).__name__} {why}, which GGUF cannot hold. {INSTEAD}")


def _check_model(tokenizer: Any, model: Mapping[str, Any]) -> None:
    if model.get("type") != "BPE":
        raise _refuse(tokenizer, f"is of the kind {model.get('type')}, not BPE")
    if not model.get("merges"):
        raise _refuse(tokenizer, "has no merges")
    odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if odd:
        raise _refuse(tokenizer, f"uses {', '.join(odd)}")


def _find_splitter(tokenizer: Any, described: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of how text is split before merging.

    Raises:
        InputError: If llama.cpp splits or normalises differently.
    """
    normaliser = described.get("normalizer")
    if normaliser is not None and normaliser.get("type") != "NFC":  # llama.cpp leaves text as it is given
        raise _refuse(tokenizer, f"normalises text ({normaliser.get('type')})")
    parts = _flatten(described.get("pre_tokenizer"))
    kinds = [part["type"] for part in parts]
    if not kinds or kinds[-1] != "ByteLevel" or parts[-1].get("add_prefix_space"):
        raise _refuse(tokenizer, f"splits text by {' + '.join(kinds) or 'nothing'}, not by bytes")
    regex = parts[-1].get("use_regex", True)
    if regex and kinds == ["ByteLevel"]:
        return "gpt-2"
    if regex and kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if not regex and kinds == ["Split", "ByteLevel"] and parts[0].get("behavior") == "Isolated":
        found = SPLITS.get(str(parts[0]["pattern"].get("Regex")))
        if found:
            return found
    raise _refuse(tokenizer, f"splits text in a way that has no name in llama.cpp ({' + '.join(kinds)})")


def _flatten(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    return (
        [each for inner in part["pretokenizers"] for each in _flatten(inner)]
        if part["type"] == "Sequence"
        else [part]
    )


def _list_tokens(
    tokenizer: Any, described: Mapping[str, Any], *, vocabulary: int
) -> tuple[list[str], list[int]]:
    """Return text and kind of every id of the embedding."""
    texts = {index: text for text, index in described["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, NORMAL)
    if is_sentencepiece(described):
        unknown = described["model"].get("unk_token") or tokenizer.unk_token
        kinds = {index: find_kind(text, unknown=unknown) or NORMAL for index, text in texts.items()}
    for added in described.get("added_tokens", ()):
        texts[added["id"]] = added["content"]
        if kinds.get(added["id"]) not in (BYTE, UNKNOWN):
            kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    if (largest := max(texts)) >= vocabulary:
        raise InputError(
            f"The tokenizer has ids up to {largest}, the model's embedding {vocabulary} rows. Give the "
            "tokenizer that belongs to this model."
        )
    tokens = [texts.get(index, f"[PAD{index}]") for index in range(vocabulary)]
    if len(set(tokens)) < len(tokens):
        raise _refuse(tokenizer, "gives one text to several ids")
    return tokens, [kinds.get(index, UNUSED) for index in range(vocabulary)]


def _restore_spaces(tokens: Sequence[str], kinds: Sequence[int]) -> list[str]:
    """Write spaces into tokens that llama.cpp looks for in the text before it replaces them."""
    return [
        text.replace(SPACE, " ") if kind == USER_DEFINED else text
        for text, kind in zip(tokens, kinds, strict=True)
    ]


def _list_special_tokens(tokenizer: Any) -> list[Field]:
    """List the ids of special tokens; llama.cpp takes id 11 for ends that are not named."""
    end = tokenizer.eos_token_id
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else end
    if end is None:
        raise _refuse(tokenizer, "has no end-of-text token (eos_token)")
    ids = {
        "bos": begin,
        "eos": end,
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    return [
        Field(f"tokenizer.ggml.{name}_token_id", "uint32", int(index))
        for name, index in ids.items()
        if index is not None
    ]


def _find_additions(tokenizer: Any) -> tuple[bool, bool]:
    """Tell whether a text is begun with the first, and ended with the last special token."""
    ids: Sequence[int] = tokenizer("a")["input_ids"]
    plain: Sequence[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    extra = len(ids) - len(plain)
    begins = extra > 0 and ids[0] == tokenizer.bos_token_id
    ends = extra > 0 and ids[-1] == tokenizer.eos_token_id
    if extra != int(begins) + int(ends):
        raise _refuse(tokenizer, "adds other tokens to a text than its first and last ones")
    return begins, ends
