"""The law of recovery over tokens that `plan` uses, fitted to the rows of one pruned model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from experiments.recovery.figure import choose_model
from experiments.recovery.rows import LLM_PRUNER_NAME, Row
from experiments.recovery.targets import TEXTS
from rankadaptor.errors import InputError
from rankadaptor.files import write_json
from rankadaptor.planning.token_law import FILE, TokenLaw, compute_share

DRAWS = 200
FEWEST = 3
"""Lengths that a fit needs: two numbers, and one length to tell how well they fit."""
START = (2e4, 0.3)
DIGITS = 5


def fit_law(rows: Sequence[Row], *, seed: int = 0) -> TokenLaw:
    """Fit the share regained on both judging texts over tokens, the best recovery of each length.

    The interval comes from refits to the measured means plus noise, whose size is that of a mean over seeds
    or the misfit of the law, whichever is larger.

    Args:
        rows: Rows of the study.
        seed: Of the noise.

    Raises:
        InputError: If there are fewer than three lengths, or a recovery ends below the dense model, which the
            law cannot describe.
    """
    own = [row for row in choose_model(rows) if row["method"] != LLM_PRUNER_NAME]
    best = {
        tokens: min(
            (row for row in own if row["tokens"] == tokens), key=lambda row: float(row["loss_judging"])
        )
        for tokens in sorted({row["tokens"] for row in own})
    }
    if len(best) < FEWEST:
        raise InputError(f"{len(best)} lengths are measured, {FEWEST} are needed. Run the study further.")
    shares = {tokens: np.array(_list_shares(row)) for tokens, row in best.items()}
    means = np.array([each.mean() for each in shares.values()])
    if means.max() >= 1:
        raise InputError(
            "a recovery ends below the dense model's loss: this law has no such limit. Fit a model that is "
            "pruned more strongly."
        )
    places = np.array(list(shares), dtype=float)
    scale, exponent = _fit(places, means)
    misfit = means - _predict(places, scale, exponent)
    errors = [np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else 0.0 for each in shares.values()]
    noise = np.maximum(np.array(errors), float(np.sqrt(np.sum(misfit**2) / max(len(best) - 2, 1))))
    generator = np.random.default_rng(seed)
    noisy = np.clip(means + noise * generator.standard_normal((DRAWS, len(best))), 1e-3, 1 - 1e-3)
    row = next(iter(best.values()))
    return TokenLaw(
        setting=row["setting"],
        pruning=f"{row['widths']} widths, {row['ratio']:.0%} of the blocks removed",
        scale=scale,
        exponent=exponent,
        draws=tuple(_fit(places, each) for each in noisy),
        tokens=(min(best), max(best)),
    )


def keep_law(law: TokenLaw, *, file: Path = FILE) -> None:
    """Write a law where `plan` reads it."""
    content: dict[str, Any] = {
        "setting": law.setting,
        "pruning": law.pruning,
        "scale": law.scale,
        "exponent": law.exponent,
        "tokens": list(law.tokens),
        "draws": [list(each) for each in law.draws],
    }
    write_json(file, content)


def _list_shares(row: Row) -> list[float]:
    """Return the share regained at each seed, the mean of both texts."""
    shares = []
    for text in TEXTS:
        before, dense = row[f"loss_{text}_pruned"], row[f"loss_{text}_dense"]
        shares.append([(before - loss) / (before - dense) for loss in row[f"losses_{text}"]])
    return [float(np.mean(each)) for each in zip(*shares, strict=True)]


def _predict(tokens: np.ndarray, scale: float, exponent: float) -> np.ndarray:
    return np.array([compute_share(each, scale=scale, exponent=exponent) for each in tokens])


def _fit(tokens: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    def find_misfit(logs: np.ndarray) -> np.ndarray:
        scale, exponent = np.exp(logs)
        return np.asarray(_predict(tokens, scale, exponent) - shares)

    found = least_squares(find_misfit, np.log(START), bounds=(np.log([1.0, 1e-3]), np.log([1e9, 1e3])))
    scale, exponent = np.exp(found.x)
    return float(f"{scale:.{DIGITS}g}"), float(f"{exponent:.{DIGITS}g}")
