"""The model whose configurations the search scores: the dense one, or the dense one after a short recovery.

A score of untouched weights may say little of what a recovery leaves. Where the dense weights lie on the grid
of a type, that type costs nothing before a recovery and as much as others after it.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.pipeline.compression.recovering import Recovered, recover_merged
from rankadaptor.pipeline.compression.run_recipe import find_run_teacher, make_given_recipe
from rankadaptor.pipeline.text_jobs.setting import TextSetting
from rankadaptor.pipeline.text_jobs.texts import SEARCH, TRAINING

logger = logging.getLogger(__name__)

FOLDER = "scored_model"


def recover_dense(setting: TextSetting[CompressConfig]) -> Recovered:
    """Recover the dense model for `search.recovered_steps` steps, or read what was trained of it.

    It is trained as the run's recoveries are, on float weights, at the last of the rates that the run tries.

    Raises:
        TrainingError: If the loss is no longer finite.
    """
    given, steps = setting.config.recover, setting.config.search.recovered_steps
    assert given is not None
    recipe = make_given_recipe(setting, steps=steps, rate=given.tried_rates[-1])
    return recover_merged(
        copy.deepcopy(setting.model),
        recipe,
        # The first of them, so that a longer recovery of the result changes nothing here.
        sequences=setting.texts[TRAINING][: steps * given.batch_size],
        steps=steps,
        seed=setting.config.seed,
        compute=setting.compute,
        checkpoint=setting.folder.path / FOLDER,
        teacher=find_run_teacher(setting, recipe),
    )


def measure_scored_model(setting: TextSetting[CompressConfig]) -> dict[str, Any]:
    """Recover the model that is scored, and measure it on the search's text.

    Returns:
        `loss` and `loss_dense` (nats per token), `tokens` and `seconds` of the training.
    """
    found = recover_dense(setting)
    text = setting.texts[SEARCH]
    before = measure_loss(setting.model, text, compute=setting.compute).mean
    after = measure_loss(found.model, text, compute=setting.compute).mean
    logger.info("scored model: loss %.4f after %d tokens, dense %.4f", after, found.tokens, before)
    return {"loss": after, "loss_dense": before, "tokens": found.tokens, "seconds": found.seconds}
