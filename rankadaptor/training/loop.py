"""The training loop for every method, for short fine-tunes and for the full fine-tune."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.components.adapter.lora.attach import list_adapter_parameters
from rankadaptor.data.sequences import draw_batches, make_batch
from rankadaptor.errors import InputError, TrainingError
from rankadaptor.files import compute_digest
from rankadaptor.model.finiteness import REMEDY, describe_nonfinite_weights, explain_nonfinite_loss
from rankadaptor.model.identity import digest_base
from rankadaptor.model.quantisation import is_quantised
from rankadaptor.progress import Progress
from rankadaptor.recipe import GRADIENT
from rankadaptor.training.adaptive_ranks import find_adaptive_ranks
from rankadaptor.training.checkpoint import (
    CurvePoint,
    TrainingState,
    digest_sequences,
    load_state,
    save_state,
)
from rankadaptor.training.initialisation import aim_at_gradients
from rankadaptor.training.loss import PAD_ID, SequenceLosses, place, score_sequences
from rankadaptor.training.packed_model import get_causal_lm
from rankadaptor.training.passes import StepPasses, go_back, seed_dropout
from rankadaptor.training.process_group import ALONE, ProcessGroup
from rankadaptor.training.result import StepReport, TrainingResult
from rankadaptor.training.schedule import compute_learning_rate
from rankadaptor.training.teacher import Teacher, open_teacher

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import Compute

logger = logging.getLogger(__name__)

HELD_OUT_BATCH = 16


def fine_tune(
    peft_model: Any,
    sequences: Sequence[TokenSequence],
    *,
    recipe: Recipe,
    steps: int,
    seed: int,
    compute: Compute,
    held_out: Sequence[TokenSequence] | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    on_step: Callable[[StepReport], None] | None = None,
    group: ProcessGroup = ALONE,
    teacher: Any = None,
    passes: StepPasses | None = None,
) -> TrainingResult:
    """Train in place what has a gradient in `peft_model`: its adapter, or weights of its own.

    The order of the data depends on `seed` alone, so two adapters trained under one seed see the same
    batches. A step's loss is the sum over all its labelled tokens divided by their number, for any
    micro batches: gradient accumulation changes memory, not the result. On one thread a run repeats exactly.

    Args:
        peft_model: A model prepared by `attach_adapter` or `attach_method`.
        sequences: Training data.
        recipe: Rates, batch sizes, schedule and so on; its `steps` is not read here. Its `initialisation`
            sets A before the first step.
        steps: Optimiser steps.
        seed: Orders the data (and dropout).
        compute: Device, precision and threads.
        held_out: Sequences for the held-out curve.
        evaluate_every: Measure the held-out loss every so many steps, and after the last.
        patience: Stop after so many measurements without a new lowest held-out loss, and leave the adapter
            of the lowest one in the model.
        checkpoint: Folder to resume from and to write to; a finished run found there is not repeated.
        checkpoint_every: Steps between two checkpoints.
        on_step: Called after each step.
        group: The processes that share this fine-tune; each calls this function with the same arguments.
        teacher: The model that the recipe's loss follows, with the same vocabulary; it is moved to
            `compute`'s device, otherwise not changed. If it is the model under the adapter itself, it is
            asked with the adapter off. Held-out losses are next-token losses with or without a teacher.
        passes: What a step passes through the model, such as the slices of a super-network; by default the
            batch, once.

    Returns:
        Losses, tokens and seconds.

    Raises:
        InputError: If the data do not fill one batch, early stopping is asked for without held-out data or
            with AdaLoRA, whose ranks are final only at the end, or teacher and recipe or model do not fit.
        CheckpointError: If `checkpoint` holds another run.
        TrainingError: If the loss or a gradient is no longer finite.
    """
    compute.apply()
    steps, seed = int(steps), int(seed)  # numpy's are no JSON, which a checkpoint is
    usable = _check(
        sequences, recipe=recipe, steps=steps, held_out=held_out, every=evaluate_every, patience=patience
    )
    place(peft_model, compute)
    group.check_batch(recipe)
    if teacher is not None:
        place(teacher, compute)
    guide = open_teacher(teacher, peft_model, recipe=recipe, compute=compute)
    run = _Run(
        peft_model,
        recipe=recipe,
        steps=steps,
        seed=seed,
        compute=compute,
        group=group,
        teacher=guide,
        passes=passes,
    )
    if run.ranks is not None and patience is not None:
        raise InputError(
            f"patience={patience}: AdaLoRA's ranks are final only at the end of the fine-tune, so that an "
            "earlier adapter cannot be kept. Give no patience."
        )
    state = TrainingState()
    folder = Path(checkpoint) if checkpoint is not None else None
    identity: dict[str, Any] = {}
    if folder is not None:
        identity = run.identify(usable) | {
            "held_out": digest_sequences(held_out) if held_out else None,
            "evaluate_every": evaluate_every,
            "patience": patience,
            "quantised": is_quantised(get_causal_lm(peft_model)),
            "weights": digest_base(peft_model),
            "precision": compute.dtype,
            **({} if passes is None else passes.identify()),
        }
        if teacher is not None:
            identity["teacher"] = digest_base(teacher)
        if rounded := getattr(peft_model, "rounded_types", None):
            identity["types"] = compute_digest(rounded)
            identity["scales"] = peft_model.rounded_scales
    if folder is not None:
        state = load_state(folder, parameters=run.parameters, optimizer=run.optimizer, identity=identity)
        if run.ranks is not None and state.step:
            run.ranks.restore_state(state.method)
        group.check_step(state.step, device=compute.device)
        if state.step:
            logger.info("%s: resuming after step %d of %d", folder, state.step, steps)
    started = time.monotonic() - state.seconds
    if guide is not None:
        guide.seconds, guide.tokens = state.teacher_seconds, state.teacher_tokens
    if recipe.initialisation == GRADIENT and not state.step:
        state.tokens = aim_at_gradients(
            peft_model, usable, seed=seed, compute=compute, at_once=recipe.micro_batch_size
        )
        # Processes may differ in the last digit of a gradient, and then in the sign of a direction.
        group.copy_from_leader(list(run.parameters.values()))
    batches = draw_batches(len(usable), batch_size=recipe.batch_size, steps=steps, seed=seed)
    with run.training(), Progress("fine-tune", steps - state.step, unit="steps") as progress:
        for step, indices in enumerate(batches, start=1):
            if step <= state.step:
                continue
            if state.stopped:
                break
            batch = [usable[index] for index in indices]
            try:
                report = run.take_step(step, batch)
            except TrainingError as error:
                error.tokens = state.tokens + sum(map(len, batch))
                raise
            state.step = step
            state.losses.append(report.loss)
            state.tokens += sum(len(sequence) for sequence in batch)
            if guide is not None:
                state.teacher_seconds = guide.seconds
                state.teacher_tokens += sum(len(sequence) for sequence in batch)
            if held_out and evaluate_every and (step % evaluate_every == 0 or step == steps):
                report = replace(report, held_out_loss=run.measure(held_out, step=step))
                _follow_held_out(state, report, run.parameters, patience=patience)
            state.seconds = time.monotonic() - started
            due = step % checkpoint_every == 0 or step == steps or state.stopped
            if folder is not None and due and group.leads:
                state.method = run.ranks.collect_state() if run.ranks is not None else {}
                save_state(
                    folder, state, parameters=run.parameters, optimizer=run.optimizer, identity=identity
                )
            if on_step is not None:
                on_step(report)
            progress.advance(note=f"loss {report.loss:.4f}")
    chosen = state.best_step if patience is not None else None
    if chosen is not None and state.best is not None:
        copy_adapter(state.best, run.parameters)
    return TrainingResult(
        losses=tuple(state.losses),
        curve=tuple(state.curve),
        tokens=state.tokens,
        seconds=state.seconds,
        best_step=chosen,
        stopped_early=state.stopped,
        teacher_tokens=state.teacher_tokens,
        teacher_seconds=state.teacher_seconds,
    )


class _Run:
    """One fine-tune's fixed parts: model, adapter parameters, optimiser, recipe."""

    def __init__(
        self,
        model: Any,
        *,
        recipe: Recipe,
        steps: int,
        seed: int,
        compute: Compute,
        group: ProcessGroup,
        teacher: Teacher | None,
        passes: StepPasses | None,
    ) -> None:
        self.model, self.recipe, self.steps, self.seed, self.compute = model, recipe, steps, seed, compute
        self.group, self.passes = group, passes
        self.parameters = list_adapter_parameters(model)
        self.ranks = find_adaptive_ranks(model)
        config = get_causal_lm(model).config
        self.drops = recipe.dropout > 0 or bool(getattr(config, "attention_dropout", 0.0))
        self.sum_losses = SequenceLosses(model, compute, training=True, teacher=teacher)
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Put the model into training mode, and back."""
        was_training = self.model.training
        causal_lm = get_causal_lm(self.model)
        recompute = self.recipe.gradient_checkpointing and not causal_lm.is_activation_checkpointing
        if recompute:
            causal_lm.activation_checkpointing_enable(
                activation_checkpointing_kwargs={"use_reentrant": False}
            )
        self.model.train()
        try:
            yield
        finally:
            self.model.train(was_training)
            self.optimizer.zero_grad(set_to_none=True)
            if recompute:
                causal_lm.activation_checkpointing_disable()

    def take_step(self, step: int, batch: Sequence[TokenSequence]) -> StepReport:
        """Take one optimiser step over `batch`, in micro batches of like length."""
        recipe = self.recipe
        rate = compute_learning_rate(step, steps=self.steps, recipe=recipe)
        labels = sum(sequence.targets for sequence in batch)
        ordered = self.group.share(sorted(batch, key=len))
        size = recipe.micro_batch_size
        pieces = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        parameters = list(self.parameters.values())
        with seed_dropout(self.seed, step, self.group.index, wanted=self.drops):
            if self.passes is None:
                total = go_back(self.sum_losses, pieces, labels=labels)
            else:
                total = self.passes.go_back(step, pieces, labels=labels, run=self)
            if self.ranks is not None and self.group.leads:  # once, since gradients are summed
                self.ranks.compute_penalty().backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(parameters)
        (total,) = self.group.sum_numbers(total, device=self.compute.device)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip or math.inf))
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TrainingError(
                f"The fine-tune broke down at step {step} of {self.steps}: loss {total}, gradient norm {norm}"
                f", learning rate {rate:g}. {self._explain(batch, trained=step > 1)}",
                step=step,
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.ranks is not None:
            self.ranks.allocate(step)
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(step, self.steps, total, rate, norm)

    def measure(self, held_out: Sequence[TokenSequence], *, step: int) -> float:
        """Measure the mean held-out loss."""
        nats, tokens, own = 0.0, 0, self.group.share(held_out)
        if own:  # there may be fewer sequences than processes
            sums, counts = score_sequences(self.model, own, compute=self.compute, batch_size=HELD_OUT_BATCH)
            nats, tokens = sum(sums), sum(counts)
        nats_of_all, tokens_of_all = self.group.sum_numbers(nats, tokens, device=self.compute.device)
        loss = nats_of_all / tokens_of_all
        if not math.isfinite(loss):
            raise TrainingError(
                f"The held-out loss is {loss} after step {step} of {self.steps}. {self._explain(held_out)}",
                step=step,
            )
        return loss

    def _explain(self, sequences: Sequence[TokenSequence], *, trained: bool = True) -> str:
        """Explain a loss or gradient that is not finite: the frozen model or this fine-tune causes it."""
        if (broken := describe_nonfinite_weights(self.model, frozen=True)) is not None:
            return f"Not all weights of the model are finite: {broken}. {REMEDY}"
        if not trained:
            tokens = make_batch(sequences[:1], pad_id=PAD_ID)["input_ids"]
            return f"Nothing was trained yet. {explain_nonfinite_loss(self.model, tokens)}"
        return "Lower the learning rate or lengthen the warm-up."

    def identify(self, sequences: Sequence[TokenSequence]) -> dict[str, Any]:
        """Describe what a checkpoint must agree with to be continued."""
        config = get_causal_lm(self.model).config
        pruning = getattr(config, "rankadaptor", None) or {}
        shapes = {name: list(value.shape) for name, value in self.parameters.items()}
        return {
            "model": f"{config.model_type} {pruning.get('digest', 'not pruned')}",
            "adapter": compute_digest(shapes),
            "data": digest_sequences(sequences),
            "steps": self.steps,
            "seed": self.seed,
            **{f"recipe.{key}": value for key, value in self.recipe.to_json().items() if key != "steps"},
        }


def copy_adapter(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.nn.Parameter]) -> None:
    """Copy adapter weights in place."""
    with torch.no_grad():
        for name, value in target.items():
            value.copy_(source[name])


def _follow_held_out(
    state: TrainingState,
    report: StepReport,
    parameters: dict[str, torch.nn.Parameter],
    *,
    patience: int | None,
) -> None:
    loss = report.held_out_loss
    if loss is None:
        return
    lowest = min((point.loss for point in state.curve), default=math.inf)
    state.curve.append(CurvePoint(report.step, state.tokens, loss))
    logger.info("step %d of %d: held-out loss %.4f", report.step, report.steps, loss)
    if patience is None:
        return
    if loss < lowest:
        state.best = {name: value.detach().to("cpu", copy=True) for name, value in parameters.items()}
        state.best_step = report.step
        return
    since = sum(1 for point in state.curve if point.step > (state.best_step or 0))
    if since >= patience:
        state.stopped = True
        logger.info(
            "no lower held-out loss in %d measurements; the adapter of step %s is kept",
            since,
            state.best_step,
        )


def _check(
    sequences: Sequence[TokenSequence],
    *,
    recipe: Recipe,
    steps: int,
    held_out: Sequence[TokenSequence] | None,
    every: int | None,
    patience: int | None,
) -> list[TokenSequence]:
    """Check the arguments of a fine-tune and return the sequences that carry a label."""
    if steps < 1:
        raise InputError(f"steps={steps}: must be at least 1.")
    if every is not None and every < 1:
        raise InputError(f"evaluate_every={every}: must be at least 1.")
    if patience is not None and (patience < 1 or not held_out or every is None):
        raise InputError(
            f"patience={patience}: early stopping needs at least 1, and held_out data and evaluate_every."
        )
    usable = [sequence for sequence in sequences if sequence.targets]
    if len(usable) < recipe.batch_size:
        raise InputError(
            f"The data make {len(usable)} sequences with a label, fewer than a batch of {recipe.batch_size}. "
            "Give more rows, or lower batch_size or sequence_length in the recipe."
        )
    return usable
