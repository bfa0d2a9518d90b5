"""Importance of channels and heads, kept beside scores that several runs share.

Importances are sums of floating-point numbers, whose last digits differ between processors and numbers of
threads. Where two channels are almost equally important, their order then differs too, and with it what an
allocation is. Runs that share a file of scores therefore share the importances that it was made with.
"""

from __future__ import annotations

import logging
from pathlib import Path

from rankadaptor.files import compute_digest
from rankadaptor.pipeline.compression.importance_file import Scores, read_importance, write_importance
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.text_jobs.texts import CALIBRATION

logger = logging.getLogger(__name__)


def find_importance(setting: Setting) -> Scores:
    """Return the importances of the run: those beside its shared scores, or computed and kept there.

    Raises:
        InputError: If the file beside the scores cannot be read.
        StorageError: If it cannot be written.
    """
    shared = setting.config.search.records
    if shared is None:
        return compute_importance(setting)
    path = name_shared_file(setting, Path(shared))
    if path.exists():
        logger.info("importance of channels and heads: read from %s", path)
        return read_importance(path)
    scores = compute_importance(setting)
    write_importance(path, scores)
    return scores


def compute_importance(setting: Setting, importance: str | None = None) -> Scores:
    """Compute the importances of all channels and KV groups on the calibration text.

    Args:
        setting: The run's inputs.
        importance: What to score by, `choices.importance` by default.
    """
    from rankadaptor.pruning.groups import find_groups
    from rankadaptor.pruning.importance import score_groups

    setting.compute.apply()
    return list(
        score_groups(
            setting.model,
            find_groups(setting.model),
            importance=importance or setting.config.choices.importance,
            sequences=setting.make_calibration(),
            seed=setting.config.seed,
        )
    )


def name_shared_file(setting: Setting, records: Path) -> Path:
    """Return the file beside shared scores; its name tells model, text and importance."""
    from rankadaptor.model import digest_model
    from rankadaptor.training.checkpoint import digest_sequences

    digest = compute_digest(
        {
            "model": digest_model(setting.model),
            "text": digest_sequences(setting.texts[CALIBRATION]),
            "importance": setting.config.choices.importance,
            "seed": setting.config.seed,
        }
    )
    return records.with_name(f"{records.stem}-importance-{digest}.safetensors")
