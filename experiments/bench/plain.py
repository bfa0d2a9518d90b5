"""The loop that everybody writes: `transformers.Trainer` on a PEFT model, batches padded to the longest.

With a teacher its `compute_loss` is overridden, as tutorials on distillation do: both models give whole
logits, and those that predict a label go through `torch.nn.functional.kl_div`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
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


class DistillingTrainer(Trainer):  # type: ignore[misc]
    """Follows a teacher in place of, or beside, the labels."""

    def __init__(self, *arguments: Any, teacher: Any, recipe: Recipe, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.teacher, self.recipe = teacher, recipe

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Return the loss of a padded batch, the mean over its labels."""
        given = {key: inputs[key] for key in ("input_ids", "attention_mask") if key in inputs}
        output = model(**given)
        with torch.no_grad():
            theirs = self.teacher(**given).logits
        labels = inputs["labels"][:, 1:]
        counted, heat, share = labels != -100, self.recipe.temperature, self.recipe.kl_share
        mine, theirs = output.logits[:, :-1][counted].float(), theirs[:, :-1][counted].float()
        # "batchmean" divides by the rows given: here the labels, because the logits are picked before.
        loss = (
            share
            * heat**2
            * F.kl_div(
                F.log_softmax(mine / heat, dim=-1),
                F.log_softmax(theirs / heat, dim=-1),
                log_target=True,
                reduction="batchmean",
            )
        )
        if share < 1:
            loss = loss + (1 - share) * F.cross_entropy(mine, labels[counted])
        return (loss, output) if return_outputs else loss


def train_plainly(
    peft_model: Any,
    sequences: Sequence[TokenSequence],
    *,
    recipe: Recipe,
    compute: Compute,
    pad_id: int,
    teacher: Any = None,
) -> tuple[list[float], float]:
    """Train on `sequences` in their order, a batch at a time, at a constant rate.

    Args:
        peft_model: A model with its adapter.
        sequences: What is trained on.
        recipe: Batch, rate and, with a teacher, the loss.
        compute: Device and precision.
        pad_id: The token that fills rows up.
        teacher: The model to follow, if any.

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
        options = {"train_dataset": rows, "data_collator": collate, "callbacks": [watch]}
        if teacher is None:
            trainer = Trainer(peft_model, arguments, **options)
        else:
            trainer = DistillingTrainer(peft_model, arguments, teacher=teacher, recipe=recipe, **options)
        trainer.train()
    return watch.losses, watch.seconds
