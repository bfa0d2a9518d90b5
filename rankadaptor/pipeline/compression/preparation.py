"""First step: divide the text, order channels and heads by importance, score the dense model."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from rankadaptor.engine.gguf_file import prepare_file
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.model import describe_model, digest_model
from rankadaptor.pipeline.compression.importance_file import write_importance
from rankadaptor.pipeline.compression.setting import IMPORTANCE_FILE, Setting
from rankadaptor.pipeline.compression.shared_importance import find_importance
from rankadaptor.pipeline.compression.texts import Texts
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.runtime import Compute

logger = logging.getLogger(__name__)


def prepare(setting: Setting) -> dict[str, Any]:
    """Order channels and heads, and measure the dense model on the judging texts.

    Returns:
        `losses` (nats per token, by judging text), `model` (its sizes), `texts`, `digests`, `compute`.

    Raises:
        InputError: If the file cannot hold the model or its tokenizer, or a text is too short.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
    """
    model, compute = setting.model, setting.compute
    prepare_file(model, setting.tokenizer)  # says now what the file cannot hold
    if setting.config.limits.latency is None:
        logger.info("space: %s", setting.space)  # and now whether the limits can be kept
    texts = setting.texts
    compute.apply()
    write_importance(setting.folder.path / IMPORTANCE_FILE, find_importance(setting))
    losses = {part: measure_loss(model, texts[part], compute=compute).mean for part in texts.judging}
    for part, loss in losses.items():
        logger.info("dense model: loss %.4f nats per token on the %s text", loss, part)
    return {
        "losses": losses,
        "model": describe_model(model),
        "texts": texts.describe(),
        "digests": {"model": digest_model(model), "texts": texts.digest},
        "compute": {"device": compute.device, "dtype": compute.dtype, "reason": compute.reason},
    }


class Begun(Protocol):
    """What a run began with."""

    @property
    def folder(self) -> RunFolder:
        """Its folder."""

    @property
    def model(self) -> Any:
        """The dense model."""

    @property
    def texts(self) -> Texts:
        """Its text, divided."""

    @property
    def compute(self) -> Compute:
        """Device and precision."""


def check_prepared(setting: Begun, prepared: dict[str, Any]) -> None:
    """Check that model, text and machine are those that the run began with.

    Raises:
        InputError: If one of them changed; the message names it.
    """
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
