"""Pico models and a pico tokenizer: real transformers classes and random weights, built in milliseconds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TRACKING_VARIABLES = (
    "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
VOCABULARY = 128
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A river runs through the old town and under three bridges.",
    "Below is an instruction that describes a task. Write a response.",
    "Question: which of these is true? Answer: the first one.",
)


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Undo what a command line run inside a test did to the process's loggers."""
    root, own = logging.getLogger(), logging.getLogger("rankadaptor")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    own.setLevel(levels[1])


@pytest.fixture(autouse=True)
def forget_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own MLflow settings out of the tests."""
    for name in TRACKING_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def forget_notices() -> None:
    """Let each test see remarks that another one has caused before."""
    from rankadaptor.data.notices import MADE

    MADE.clear()


@pytest.fixture(scope="session")
def pico_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over printable ASCII, 128 entries: unk 0, pad 1, eos 2; it adds no token by itself."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    printable = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<pad>", "<eos>"],
        initial_alphabet=[*printable, "Ġ", "Ċ"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=512,
    )


@pytest.fixture(scope="session")
def pico_model(pico_tokenizer: PreTrainedTokenizerFast) -> Callable[..., PreTrainedModel]:
    """Return a factory: `pico_model(family, blocks, seed=…, **config)` builds a fresh random model.

    Hidden size 32, four query and two key-value heads of 8, MLP width 64, float32, eval mode, the pico
    tokenizer's vocabulary.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.set_num_threads(1)

    def build(family: str = "llama", blocks: int = 3, *, seed: int = 0, **overrides: Any) -> PreTrainedModel:
        settings: dict[str, Any] = {
            "vocab_size": len(pico_tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": blocks,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 512,
            "initializer_range": 0.1,  # livelier than the default: losses differ between random models
            "bos_token_id": None,
            "eos_token_id": pico_tokenizer.eos_token_id,
            "pad_token_id": pico_tokenizer.pad_token_id,
        }
        config = CONFIG_MAPPING[family](**(settings | overrides))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return model.eval()

    return build
