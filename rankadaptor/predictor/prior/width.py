"""Calibration of the intervals before the first record, by leaving settings out in turn."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.prior.conditioning import condition
from rankadaptor.predictor.prior.hierarchy import Hierarchy, fit_hierarchy

if TYPE_CHECKING:
    from rankadaptor.space import Space

logger = logging.getLogger(__name__)

SHARE, QUANTILE = 0.90, 1.645  # of a normal distribution lie within mean ± 1.645 SD
SETTINGS = 5  # fewer are too few to calibrate
LEAST, LARGEST = 0.05, 3.0


def calibrate_width(hierarchy: Hierarchy, settings: Sequence[tuple[Space, Observations]]) -> Hierarchy:
    """Return the prior with a factor on its SDs that gives its 90 % intervals their nominal coverage.

    A normal distribution with the variance over all sizes of settings is too wide for most settings: one
    extreme setting in the corpus is enough. Each setting is predicted by a prior fitted to the others, and
    the factor is the one at which 90 % of the measured gains lie in their intervals, with equal weight for
    each setting.

    Args:
        hierarchy: Fitted to all settings.
        settings: The same settings. With fewer than five the prior is returned as it is.
    """
    if len(settings) < SETTINGS:
        return hierarchy
    parts = [
        _measure_errors(fit_hierarchy([*settings[:left_out], *settings[left_out + 1 :]]), *settings[left_out])
        for left_out in range(len(settings))
    ]
    errors = np.concatenate(parts)
    weights = np.concatenate([np.full(len(part), 1.0 / len(part)) for part in parts])
    order = np.argsort(errors)
    reached = np.cumsum(weights[order]) / weights.sum()
    width = float(np.clip(errors[order][np.searchsorted(reached, SHARE)], LEAST, LARGEST))
    logger.info("meta-train: intervals before the first record are %.2f times the prior's", width)
    return dataclasses.replace(hierarchy, width=width)


def _measure_errors(hierarchy: Hierarchy, space: Space, observations: Observations) -> Floats:
    """Return the errors of the first prediction `(n,)` in half widths of its 90 % interval."""
    prediction = condition(hierarchy, space, None).predict(observations.choices)
    noise = prediction.noise / np.sqrt(observations.counts)
    half = QUANTILE * np.maximum(np.hypot(prediction.std, noise), 1e-12)
    errors: Floats = np.abs(observations.gains - prediction.mean) / half
    return errors
