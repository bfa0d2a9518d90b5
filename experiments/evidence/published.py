"""Our re-analysis of the co-authors' published data, for comparison with our own figures.

Source: the raw pairs of rank vector and accuracies in [LaRA]_; method of the re-analysis: inside one pruned
model and one batch of runs, mean accuracy over seven benchmarks against the rank vector, ten-fold
cross-validation of ridge and of a Gaussian process, the better of the two. The file does not say what differs
between repeats of one configuration.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedBatch:
    """One batch of published runs of one pruned model.

    Attributes:
        model: Model and pruning ratio.
        runs: Number of rank vectors.
        spread: SD of mean accuracy over rank vectors, points.
        left_out: Best cross-validated R².
        rank_correlation: Spearman's ρ of left-out predictions; None if only known to be about zero or below.
        boolq_share: Share of the variance due to BoolQ alone; above 1 if the other benchmarks vary in the
            opposite direction.
    """

    model: str
    runs: int
    spread: float
    left_out: float
    rank_correlation: float | None
    boolq_share: float | None


BATCHES = (
    PublishedBatch("LLaMA-7B, half pruned", 219, 0.39, -0.02, 0.04, 0.88),
    PublishedBatch("Vicuna-7B, half pruned", 200, 0.27, -0.01, 0.07, 0.81),
    PublishedBatch("LLaMA-7B, 20 % pruned", 61, 0.21, -0.01, -0.04, 0.71),
    PublishedBatch("LLaMA-7B, 25 % pruned", 61, 0.33, -0.03, -0.11, 0.57),
    PublishedBatch("LLaMA-7B, 30 % pruned", 42, 0.25, -0.07, None, None),
    PublishedBatch("Vicuna-7B, 20 % pruned", 60, 0.31, 0.01, 0.19, 0.99),
    PublishedBatch("Vicuna-7B, 25 % pruned", 60, 0.36, 0.07, 0.29, 1.06),
    PublishedBatch("Vicuna-7B, 30 % pruned", 53, 0.41, -0.05, None, None),
)

ALL_RUNS = 983
REPEATS = 7
REPEAT_SPREAD = 0.31
"""SD in points over repeats of the only repeated configuration, of LLaMA-7B at 20 %."""
REPEATED_MODEL = "LLaMA-7B, 20 % pruned"
PREDICTOR_ERRORS = {
    "arc_challenge": 0.55, "arc_easy": 1.00, "boolq": 2.15, "hellaswag": 1.02, "openbookqa": 0.64, "piqa":
    0.57, "winogrande": 0.86,
}  # fmt: skip
"""Mean absolute error of the published predictor on its test set by benchmark, points."""
CLAIMED_GAINS = (0.7, 5.5)
"""Least and greatest gain over the best earlier method in the abstract of [RankAdaptor]_, per cent."""
