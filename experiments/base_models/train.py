"""Train a small language model from scratch on the kit's text: a base model for the corpus.

    python -m experiments.base_models.train experiments/base_models/llama-8x128.yaml

The weights go to `meta_data/models/<name>`, in bfloat16, with their tokenizer and `training.json`. On one
thread the run is repeatable.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from rankadaptor.data import load_rows, make_batch, tokenise_rows
from rankadaptor.data.row import Row
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import write_json
from rankadaptor.runtime import choose_compute, find_commit

logger = logging.getLogger(__name__)
MODELS = Path(__file__).parents[2] / "meta_data" / "models"
END, PAD = "<|end|>", "<|pad|>"


def main() -> None:
    """Read the YAML file, train, save, and record the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    given = yaml.safe_load(parser.parse_args().file.read_text())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    compute = choose_compute(device="cpu", dtype="float32", threads=1)
    compute.apply()
    set_seed(given["seed"])
    rows = [row for part in given["text"] for row in read_rows(part)]
    held_out = read_rows(given["held_out"])
    tokenizer = train_tokenizer((row.response for row in rows), size=given["vocabulary"])
    train = tokenise_rows(rows, tokenizer, max_length=given["length"], pack=True)
    scored = tokenise_rows(held_out, tokenizer, max_length=given["length"], pack=True)
    model = build_model(given, tokenizer)
    logger.info(
        "%d parameters, %d sequences of %d tokens", model.num_parameters(), len(train), given["length"]
    )
    started = time.monotonic()
    fit(model, train, given, pad_id=tokenizer.pad_token_id)
    model = model.to(torch.bfloat16)
    folder = MODELS / given["name"]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    loss = measure_loss(model.float(), scored, compute=compute).mean
    logger.info("held-out loss %.4f nats per token", loss)
    write_json(
        folder / "training.json",
        {
            "run": given,
            "parameters": model.num_parameters(),
            "tokens": given["steps"] * given["batch_size"] * given["length"],
            "held_out_loss": loss,
            "loss_of_guessing": math.log(given["vocabulary"]),
            "seconds": time.monotonic() - started,
            "commit": find_commit(),
        },
    )


def read_rows(part: dict[str, Any]) -> list[Row]:
    """Read one source as plain text; `skip` and `limit` keep it apart from later training rows."""
    rows = load_rows(part["source"], limit=part.get("limit"), skip=part.get("skip", 0), seed=0)
    return [Row(prompt="", response=row.prompt + row.response) for row in rows]


def train_tokenizer(texts: Iterator[str], *, size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of `size` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def build_model(given: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Any:
    """Build the untrained model that the YAML file describes; embeddings are tied."""
    config = AutoConfig.for_model(
        given["family"],
        vocab_size=given["vocabulary"],
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **given["shape"],
    )
    return AutoModelForCausalLM.from_config(config)


def fit(model: Any, sequences: list[Any], given: dict[str, Any], *, pad_id: int) -> None:
    """Train all weights with AdamW and a cosine schedule."""
    arguments = TrainingArguments(
        output_dir=f"runs/base_models/{given['name']}",
        max_steps=given["steps"],
        per_device_train_batch_size=given["batch_size"],
        learning_rate=given["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=given["steps"] // 20,
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_steps=50,
        save_strategy="no",
        disable_tqdm=True,
        report_to=[],
        seed=given["seed"],
        use_cpu=True,
        remove_unused_columns=False,
    )
    Trainer(
        model=model,
        args=arguments,
        train_dataset=sequences,
        data_collator=lambda batch: make_batch(batch, pad_id=pad_id),
    ).train()


if __name__ == "__main__":
    main()
