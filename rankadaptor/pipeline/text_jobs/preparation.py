"""What the first step of a job on divided text measures, and the check that a run continues with the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import HeldOutLoss, measure_loss
from rankadaptor.model import describe_model, digest_model
from rankadaptor.pipeline.text_jobs.setting import Config, TextSetting

logger = logging.getLogger(__name__)


def complete_preparation(
    setting: TextSetting[Config], prepare: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Do the first step, or read it and check that model, text and machine are those that the run began with.

    Raises:
        InputError: If one of them changed; the message names it.
    """
    begun = setting.folder.finished("prepare")
    prepared = setting.folder.complete("prepare", prepare)
    if begun:
        _check_unchanged(setting, prepared)
    return prepared


def measure_given(setting: TextSetting[Config], *, repeats: int = 3) -> dict[str, Any]:
    """Measure the model as it was given.

    Args:
        setting: The inputs of the run.
        repeats: Timed passes, as of `describe_model`.

    Returns:
        `losses` (nats per token, by judging text), `model` (its sizes), `texts`, `digests`, `compute`.
    """
    compute, texts = setting.compute, setting.texts
    compute.apply()
    losses = {part: loss.mean for part, loss in measure_losses(setting, "dense model", setting.model).items()}
    return {
        "losses": losses,
        "model": describe_model(setting.model, repeats=repeats),
        "texts": texts.describe(),
        "digests": {"model": digest_model(setting.model), "texts": texts.digest},
        "compute": {"device": compute.device, "dtype": compute.dtype, "reason": compute.reason},
    }


def measure_losses(setting: TextSetting[Config], name: str, model: Any) -> dict[str, HeldOutLoss]:
    """Measure a model on every judging text, and log its losses under a name."""
    losses = {
        part: measure_loss(model, setting.texts[part], compute=setting.compute)
        for part in setting.texts.judging
    }
    for part, loss in losses.items():
        logger.info("%s: loss %.4f nats per token on the %s text", name, loss.mean, part)
    return losses


def _check_unchanged(setting: TextSetting[Config], prepared: dict[str, Any]) -> None:
    now = {
        "model": digest_model(setting.model),
        "texts": setting.texts.digest,
        "device": setting.compute.device,
        "precision": setting.compute.dtype,
    }
    compute = prepared["compute"]
    then = {**prepared["digests"], "device": compute["device"], "precision": compute["dtype"]}
    changed = [f"{name} {then[name]} → {value}" for name, value in now.items() if then[name] != value]
    if changed:
        raise InputError(
            f"{setting.folder.path} was begun with another model, other text or on another machine: "
            f"{', '.join(changed)}. What is measured now could not be compared with what is there. Bring "
            "back what it was (compute.dtype names a precision), or begin anew: --fresh, or another output."
        )
