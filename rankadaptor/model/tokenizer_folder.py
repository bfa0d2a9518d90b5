"""Check and load the tokenizer files of a folder."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import plain_texts, read_json
from rankadaptor.model.weight_files import refuse_stand_in

FAST, PIECES, VOCABULARY, MERGES = "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"
SETTINGS = "tokenizer_config.json"
OTHERS = ("tiktoken.model", "tekken.json", "vocab.txt")
# Module → package that transformers needs to convert a tokenizer.model.
SENTENCEPIECE = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf"}
TIKTOKEN = {"tiktoken": "tiktoken"}
_TIKTOKEN_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")
AGAIN = "Copy the tokenizer files of the base model there."


def check_tokenizer_folder(folder: Path) -> None:
    """Check that a folder holds a tokenizer and that the installed packages can read it. No torch import.

    If the vocabulary is missing, some transformers classes return an empty tokenizer without an error.

    Raises:
        CheckpointError: If there is no tokenizer, a file does not have the format of its name, or a package
            is missing.
    """
    names = [FAST, PIECES, VOCABULARY, MERGES, SETTINGS, *OTHERS]
    there = [name for name in names if (folder / name).is_file()]
    for name in there:
        refuse_stand_in(folder / name)
    if FAST in there or any(name in there for name in OTHERS):
        return
    if PIECES in there:
        _check_packages(folder / PIECES)
    elif VOCABULARY not in there:
        raise CheckpointError(
            f"{folder}: no usable tokenizer (none of {FAST}, {PIECES}, {VOCABULARY} with {MERGES} is there). "
            f"{AGAIN}"
        )
    elif MERGES not in there:
        raise CheckpointError(f"{folder}: no usable tokenizer ({VOCABULARY} without {MERGES}). {AGAIN}")


def _check_packages(path: Path) -> None:
    with path.open("rb") as stream:
        tiktoken = _TIKTOKEN_LINE.match(stream.read(256)) is not None
    kind, packages = ("tiktoken", TIKTOKEN) if tiktoken else ("SentencePiece", SENTENCEPIECE)
    missing = [package for module, package in packages.items() if not _is_installed(module)]
    if missing:
        raise CheckpointError(
            f"{path}: a {kind} tokenizer, which transformers reads with {' and '.join(packages.values())}; "
            f"not installed: {', '.join(missing)}. Run pip install {' '.join(missing)}, or copy {FAST} of "
            "the base model there, which needs neither."
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def read_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder, without running code from it.

    Raises:
        CheckpointError: If it cannot be loaded; the message says why and what to do.
    """
    from transformers import AutoTokenizer

    check_tokenizer_folder(folder)
    try:
        with plain_texts(folder) as readable:
            tokenizer = AutoTokenizer.from_pretrained(readable, trust_remote_code=False)
    except InputError:  # the message names the file of another encoding
        raise
    except Exception as error:  # tokenizers raises Exception itself, transformers a dozen classes
        said = f"{folder}: no usable tokenizer ({_shorten(error)})."
        raise CheckpointError(f"{said} {_advise(folder, error)}") from error
    if _has_vocabulary_alone(folder):
        wanted, found = len(read_json(folder / VOCABULARY)), len(tokenizer)
        if found < wanted:  # a class that does not read these files gives an empty tokenizer
            raise CheckpointError(
                f"{folder}: no usable tokenizer ({type(tokenizer).__name__} has {found} tokens, {VOCABULARY} "
                f"{wanted}). {_ADVICE_ON_CLASS}"
            )
    return tokenizer


_ADVICE_ON_CLASS = (
    f"There are only {VOCABULARY} and {MERGES}, and {SETTINGS} does not name a class that reads them. Name "
    "it "
    f'there (for byte-level BPE "tokenizer_class": "GPT2Tokenizer"), or copy {FAST} of the base model.'
)


def _has_vocabulary_alone(folder: Path) -> bool:
    others = any((folder / name).is_file() for name in (FAST, PIECES, *OTHERS))
    return not others and (folder / VOCABULARY).is_file()


def _shorten(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _advise(folder: Path, error: Exception) -> str:
    if type(error) is Exception and (folder / FAST).is_file():
        version = importlib.metadata.version("tokenizers")
        return (
            f"The installed tokenizers {version} cannot read {FAST}: it is damaged, or a newer version wrote "
            "it. Copy it again, upgrade with pip install --upgrade transformers, or save the tokenizer anew "
            "with this version where it loads."
        )
    if "trust_remote_code" in str(error):
        return f"It needs code of its own, which is not run here. Copy {FAST} of one without code there."
    return _ADVICE_ON_CLASS if _has_vocabulary_alone(folder) else AGAIN
