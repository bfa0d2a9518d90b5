"""The loop that everybody writes: `transformers.Trainer` on a PEFT model, batches padded to the longest."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from rankadaptor.data import make_batch

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import Compute


class Watch(TrainerCallback):  # type: ignore[misc]
    """Notes when the loop began and ended, and the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds = 0.0
        self._started = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock, after model, optimiser and data are made."""
        self._started = time.perf_counter()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds = time.perf_counter() - self._started

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Keep the loss."""
        if "loss" in logs:
            self.losses.append(logs["loss"])


def train_plainly(
    peft_model: Any,
    sequences: Sequence[TokenSequence],
    *,
    recipe: Recipe,
    compute: Compute,
    pad_id: int,
) -> tuple[list[float], float]:
    """Train on `sequences` in their order, a batch at a time, at a constant rate.

    Returns:
        Loss of each step in nats per token, and the seconds of the loop without its set-up.
    """
    compute.apply()
    rows = [{"sequence": sequence} for sequence in sequences]
    watch = Watch()

    def collate(given: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return make_batch([row["sequence"] for row in given], pad_id=pad_id)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=len(rows) // recipe.batch_size,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.gradient_clip,
            train_sampling_strategy="sequential",
            bf16=compute.dtype == "bfloat16",
            use_cpu=compute.device == "cpu",
            remove_unused_columns=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(peft_model, arguments, train_dataset=rows, data_collator=collate, callbacks=[watch])
        trainer.train()
    return watch.losses, watch.seconds
