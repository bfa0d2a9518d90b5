"""Three figures: the gains of recovery with uniform ranks, of searched ranks, and of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.compare.labels import label_method
from experiments.compare.summary import pool_methods
from rankadaptor.errors import InputError
from rankadaptor.results.table import write_gain, write_interval, write_loss, write_percent

Row = Mapping[str, Any]

RIGHT_RATE, WRONG_RATE = "full", "long"
"""Jobs of the comparison whose rate was tuned at the length of the recovery, and at half of it."""
SEARCHED = "ours"
"""Key of the search of ranks that the figure is about."""


def write_expectations(run: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the figures as a Markdown list.

    Args:
        run: The result document of a run with a dense, a pruned and a recovered model.
        rows: Those of `python -m experiments.compare`, with the jobs `full` and `long`.

    Raises:
        InputError: If one of the jobs is missing.
    """
    return "\n".join([_describe_recovery(run), _describe_ranks(rows), _describe_rate(rows)])


def _describe_recovery(run: Mapping[str, Any]) -> str:
    losses, uniform = run["result"]["losses"], run["result"]["recovered"]["uniform"]["loss"]
    config = run["run"]["config"]
    share = (losses["pruned"] - uniform) / (losses["pruned"] - losses["dense"])
    return (
        f"- **Uniform LoRA wins back most of what pruning costs.** In a short run of the rank search (rank "
        f"{config['space']['like_uniform']}, {config['recover']['steps']} steps, "
        f"{write_percent(run['result']['pruning']['achieved_ratio'])} of the parameters removed) the "
        f"held-out loss goes from {write_loss(losses['pruned'])} to {write_loss(uniform)}; the dense "
        f"model has {write_loss(losses['dense'])}. That is {write_percent(share)} of the loss "
        "that pruning added; recovery also fits the model to text of this kind."
    )


def _describe_ranks(rows: Sequence[Row]) -> str:
    own = _choose_job(rows, RIGHT_RATE)
    pooled = pool_methods(own)[SEARCHED]
    settings = len({row["setting"] for row in own})
    steps = " or ".join(map(str, sorted({row["steps"] for row in own})))
    found = "gain nothing measurable" if pooled.outcome == "no difference" else f"are {pooled.outcome}"
    return (
        f"- **Searched ranks {found} over uniform ranks of the same size, once the learning rate is right.** "
        f"Mean gain over {settings} settings with recoveries of {steps} steps: {write_gain(pooled.gain)} "
        f"nats per token (95 % interval {write_interval(pooled.low, pooled.high)}; search "
        f"`{label_method(SEARCHED)}` of the comparison)."
    )


def _describe_rate(rows: Sequence[Row]) -> str:
    right, wrong = (
        {row["setting"]: row["loss"] for row in _choose_job(rows, job) if row["method"] == "uniform"}
        for job in (RIGHT_RATE, WRONG_RATE)
    )
    gains = sorted((wrong[setting] - right[setting] for setting in wrong if setting in right), reverse=True)
    return (
        "- **The learning rate matters more.** Tuned at the full length of the recovery instead of half of "
        f"it, uniform ranks gain {', '.join(map(write_gain, gains))} nats per token in {len(gains)} settings."
    )


def _choose_job(rows: Sequence[Row], job: str) -> list[Row]:
    own = [row for row in rows if row["job"] == job]
    if not own:
        raise InputError(
            f"No rows of job {job}. Make them with "
            f"`python -m experiments.compare experiments/compare/{job}.yaml`."
        )
    return own
