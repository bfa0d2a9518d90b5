"""What one training is, and its record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

UNIFORM, SEARCHED = "uniform", "searched"
WIDTHS = (UNIFORM, SEARCHED)
OURS, LLM_PRUNER = "ours", "llm_pruner"
PLAIN = "plain"
LORA = "lora"
TUNING_SEED = 1000
"""Seed of trainings that choose a rate; those that judge have the seeds from 0 on."""


@dataclass(frozen=True)
class Training:
    """One training, named by what it trains and how.

    Attributes:
        widths: How the model was pruned: `uniform`, as LLM-Pruner does, or `searched`.
        ratio: Share of the blocks' parameters removed.
        tokens: Tokens that it is to train on.
        learning_rate: Peak rate.
        seed: Start of the adapter and order of the data.
        recipe: `ours` or `llm_pruner`.
        method: How weights are changed.
        loss_kind: What is minimised.
        bits: Type of the weights that are trained through the quantiser; None trains float weights.
        schedule: Schedule of the rate.
    """

    widths: str
    ratio: float
    tokens: int
    learning_rate: float
    seed: int
    recipe: str = OURS
    method: str = LORA
    loss_kind: str = PLAIN
    bits: str | None = None
    schedule: str = "cosine"

    @property
    def structure(self) -> str:
        """Name of the pruned model."""
        return name_structure(self.widths, self.ratio)

    @property
    def cell(self) -> Training:
        """The same training without its rate and seed: what rates are tuned for."""
        return dataclasses.replace(self, learning_rate=0.0, seed=0)

    @property
    def label(self) -> str:
        """A short name for log lines and folders."""
        parts = [
            self.structure,
            self.recipe,
            self.method,
            self.loss_kind,
            self.bits or "float",
            self.schedule,
        ]
        return "-".join([*parts, f"{self.tokens}", f"{self.learning_rate:.3g}", f"seed{self.seed}"])

    def is_rounded_afterwards(self, ratio: float) -> bool:
        """Tell whether it is what trainings through a quantiser are compared with, at this ratio."""
        usual = (self.recipe, self.method, self.loss_kind, self.bits) == (OURS, LORA, PLAIN, None)
        return usual and (self.widths, self.ratio) == (UNIFORM, ratio) and self.seed != TUNING_SEED

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        return dataclasses.asdict(self)


def name_structure(widths: str, ratio: float) -> str:
    """Return the name of a pruned model, for example `uniform-30`."""
    return f"{widths}-{100 * ratio:g}"


@dataclass(frozen=True)
class Record:
    """A finished training.

    Attributes:
        training: What was trained.
        losses: Held-out loss in nats per token by text; None if it diverged.
        tokens: Tokens trained on.
        seconds: Time of the training, without measuring.
        speed: Tokens per second of the training.
        details: Precision, commit, time, digest of the model, steps, error.
    """

    training: Training
    losses: dict[str, float] | None
    tokens: int
    seconds: float
    details: dict[str, Any]

    @property
    def speed(self) -> float:
        """Tokens per second of the training."""
        return self.tokens / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Return one line of the record file."""
        return {
            **self.training.to_json(),
            "losses": self.losses,
            "tokens_trained": self.tokens,
            "seconds": round(self.seconds, 1),
            **self.details,
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Record:
        """Read one line of the record file."""
        names = {each.name for each in dataclasses.fields(Training)}
        own = {"losses", "tokens_trained", "seconds"}
        return cls(
            training=Training(**{key: value for key, value in line.items() if key in names}),
            losses=line["losses"],
            tokens=line["tokens_trained"],
            seconds=line["seconds"],
            details={key: value for key, value in line.items() if key not in names | own},
        )
