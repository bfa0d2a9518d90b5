"""Ranks by PEFT's own methods: EVA before training, AdaLoRA during training."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.compare.choice import Choice
from rankadaptor.components.adapter import read_sizes
from rankadaptor.data.sequences import draw_batches, make_batch
from rankadaptor.errors import TrainingError
from rankadaptor.pipeline.design import allocate_by_weights
from rankadaptor.pipeline.trials import build_measure
from rankadaptor.training.schedule import compute_learning_rate

if TYPE_CHECKING:
    from experiments.compare.config import ComparisonConfig
    from experiments.compare.prepared_setting import PreparedSetting
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.space import Allocation, Space

EVA_RHO = 2.0  # PEFT's default: at most twice the uniform rank
EVA_BATCHES = 16
EVA_PASSES = 400  # forward passes before EVA is given up
START_RATIO = 1.5  # initial rank over target rank of AdaLoRA, PEFT's default
WARM_SHARE, FINAL_SHARE, ALLOCATIONS = 0.1, 0.3, 50


def choose_by_eva(prepared: PreparedSetting, _given: ComparisonConfig) -> Choice:
    """Allocate the ranks by the explained variance of each linear's input directions [EVA]_.

    PEFT's implementation keeps the sum of ranks; the result is then fitted to the exact budget.
    """
    from peft import EvaConfig, LoraConfig, get_peft_model, initialize_lora_eva_weights
    from peft.tuners.lora import LoraLayer

    started, short = time.monotonic(), build_measure(prepared.source)
    names = _list_modules(prepared.space)
    config = LoraConfig(
        r=max(read_sizes(prepared.space.reference())),
        target_modules=names,
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=EVA_RHO),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(short.model, config)
        passes = _Passes()
        batches = draw_batches(
            len(short.sequences),
            batch_size=prepared.source.recipe.batch_size,
            steps=EVA_BATCHES,
            seed=prepared.seed,
        )
        data = [make_batch([short.sequences[index] for index in batch], pad_id=0) for batch in batches]
        initialize_lora_eva_weights(model, data, forward_fn=passes.run, show_progress_bar=False)
    base = model.get_base_model()
    modules = dict(base.named_modules())
    ranks = {
        name: int(modules[name].r["default"]) if isinstance(modules[name], LoraLayer) else 0 for name in names
    }
    allocation = fit_ranks(prepared.space, ranks)
    return Choice(allocation.values, passes.tokens, time.monotonic() - started, details=_describe(ranks))


def choose_by_adalora(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Train AdaLoRA [AdaLoRA]_ by PEFT, and use its final ranks as an allocation.

    It runs as long as a full fine-tune, or as long as the trials allow if that is less, with the setting's
    recipe.
    """
    import torch
    from peft import AdaLoraConfig, get_peft_model

    started, short = time.monotonic(), build_measure(prepared.source)
    recipe, names = prepared.source.recipe, _list_modules(prepared.space)
    steps = max(10, min(recipe.steps, given.trials * prepared.steps))
    target = max(read_sizes(prepared.space.reference()))
    start = max(target + 1, round(START_RATIO * target))
    config = AdaLoraConfig(
        target_modules=names,
        target_r=target,
        init_r=start,
        lora_alpha=recipe.scale(target) * start,
        tinit=int(WARM_SHARE * steps),
        tfinal=int(FINAL_SHARE * steps),
        deltaT=max(1, steps // ALLOCATIONS),
        total_step=steps,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(prepared.seed)
        model = get_peft_model(short.model, config)
    model.train()
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    tokens = 0
    for step, batch in enumerate(_iterate(short.sequences, prepared, steps=steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = compute_learning_rate(step, steps=steps, recipe=recipe)
        loss = model(**batch).loss
        if not torch.isfinite(loss):
            raise TrainingError(f"AdaLoRA's loss is {loss.item()} at step {step} of {steps}.", step=step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        optimizer.step()
        model.base_model.update_and_allocate(step)
        optimizer.zero_grad(set_to_none=True)
        tokens += int(batch["attention_mask"].sum())
    pattern: Mapping[str, Sequence[bool]] = model.peft_config["default"].rank_pattern
    ranks = {name: _find_rank(pattern, name) for name in names}
    allocation = fit_ranks(prepared.space, ranks)
    return Choice(
        allocation.values,
        tokens,
        time.monotonic() - started,
        details={**_describe(ranks), "steps": steps},
    )


def fit_ranks(space: Space, ranks: Mapping[str, int]) -> Allocation:
    """Bring ranks of linears to the exact budget, keeping their proportions; a slot takes their mean.

    Linears without a rank, such as those of slots pinned at 0, count as 0.
    """
    wanted = np.array([np.mean([ranks.get(name, 0) for name in slot.modules]) for slot in space.slots])
    return allocate_by_weights(space, wanted / np.maximum(np.asarray(read_sizes(space.reference())), 1))


class _Passes:
    """Runs the model forward and counts tokens; raises an error if EVA does not converge."""

    def __init__(self) -> None:
        self.tokens = self.count = 0

    def run(self, model: Any, inputs: Mapping[str, Any]) -> Any:
        self.count += 1
        self.tokens += int(inputs["attention_mask"].sum())
        if self.count > EVA_PASSES:
            raise TrainingError(
                f"EVA has not converged after {EVA_PASSES} forward passes. Give it more or longer rows.",
                step=EVA_PASSES,
            )
        return model(**inputs)


def _list_modules(space: Space) -> list[str]:
    return [name for slot in space.slots if slot.pinned != 0 for name in slot.modules]


def _iterate(
    sequences: Sequence[TokenSequence], prepared: PreparedSetting, *, steps: int
) -> Iterator[dict[str, Any]]:
    size = prepared.source.recipe.batch_size
    for indices in draw_batches(len(sequences), batch_size=size, steps=steps, seed=prepared.seed):
        yield make_batch([sequences[index] for index in indices], pad_id=0)


def _find_rank(pattern: Mapping[str, Sequence[bool]], name: str) -> int:
    """Return the rank left of a linear, which the pattern names as `model.<name>.lora_E…`."""
    found = [kept for key, kept in pattern.items() if f".{name}.lora_E" in f".{key}"]
    return sum(found[0]) if found else 0


def _describe(ranks: Mapping[str, int]) -> dict[str, Any]:
    return {"rank_sum": sum(ranks.values()), "lowest": min(ranks.values()), "highest": max(ranks.values())}
