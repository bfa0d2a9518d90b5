"""What each method chooses: the names and descriptions that tables and figures show.

Job files and result files hold the keys; documents show the labels.
"""

from __future__ import annotations

LABELS = {
    "uniform": "uniform",
    "uniform_tuned": "rate",
    "uniform_started": "init + rate",
    "random": "ranks: random",
    "linear_in_depth": "ranks: linear",
    "damage": "ranks: damage",
    "eva": "ranks: EVA",
    "spectra": "ranks: spectra",
    "adalora": "ranks: AdaLoRA",
    "elastic": "ranks: elastic",
    "boosted_trees": "ranks: XGBoost",
    "paper": "ranks: paper",
    "run_default": "ranks: default of run",
    "ours": "ranks: two stages",
    "ours_widened": "ranks + scales",
    "ours_started": "init + rate, then ranks",
}
"""Name of each method in tables and figures, by its key."""

DESCRIPTIONS = {
    "uniform": "the same rank in every slot, with the recipe that all methods share",
    "uniform_tuned": "uniform ranks; the trials tune the learning rate",
    "uniform_started": "uniform ranks; the trials tune the initialisation and the learning rate",
    "random": "the best measured of random allocations",
    "linear_in_depth": "ranks that grow linearly with depth (PRILoRA); no trials",
    "damage": "ranks in proportion to what pruning removed from a block; no trials",
    "eva": "ranks by explained variance of the inputs (EVA, by PEFT); no trials",
    "spectra": "ranks by singular values of the first gradients; no trials",
    "adalora": "the ranks that AdaLoRA (by PEFT) ends with",
    "elastic": "a search among slices of one elastic adapter",
    "boosted_trees": "a search guided by XGBoost, expected improvement",
    "paper": "the paper's meta-trained network on the rank vector; the best measured allocation",
    "run_default": "what `rankadaptor run` does without a `search` section: the trained predictor, its "
    "mean until twelve records, then expected improvement; the allocation with the largest predicted gain",
    "ours": "the trained predictor, Thompson sampling and then the predicted mean; a third of the trials "
    "measures the finalists again under other seeds",
    "ours_widened": "two stages as well, over ranks and LoRA scales, guided by a Gaussian process",
    "ours_started": "half of the trials tune initialisation and rate on uniform ranks; the rest "
    "is a search of ranks in two stages",
}
"""What a method does, in a phrase."""

RUN_DEFAULT = "run_default"
"""Key of the method that does what `rankadaptor run` does by default."""


def label_method(method: str) -> str:
    """Return the name that documents show for a method; an unknown key is shown as it is."""
    return LABELS.get(method, method)
