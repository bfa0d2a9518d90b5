"""First step: divide the text, order channels and heads by importance, score the dense model."""

from __future__ import annotations

import logging
from typing import Any

from rankadaptor.engine.gguf_file import prepare_file
from rankadaptor.pipeline.compression.importance_file import write_importance
from rankadaptor.pipeline.compression.setting import IMPORTANCE_FILE, Setting
from rankadaptor.pipeline.compression.shared_importance import find_importance
from rankadaptor.pipeline.text_jobs.preparation import measure_given

logger = logging.getLogger(__name__)


def prepare(setting: Setting) -> dict[str, Any]:
    """Order channels and heads, and measure the dense model on the judging texts.

    Returns:
        `losses` (nats per token, by judging text), `model` (its sizes), `texts`, `digests`, `compute`.

    Raises:
        InputError: If the file cannot hold the model or its tokenizer, or a text is too short.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
    """
    prepare_file(setting.model, setting.tokenizer)  # says now what the file cannot hold
    if setting.config.limits.latency is None:
        logger.info("space: %s", setting.space)  # and now whether the limits can be kept
    setting.read_texts()
    setting.compute.apply()
    write_importance(setting.folder.path / IMPORTANCE_FILE, find_importance(setting))
    return measure_given(setting)
