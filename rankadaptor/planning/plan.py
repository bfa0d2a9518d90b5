"""The plan of a run: its steps and their costs, before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rankadaptor.methods import LORA


@dataclass(frozen=True)
class PlanStep:
    """One step of a run.

    Attributes:
        name: Name of the step and of its result file.
        what: Description of the step.
        runs: Fine-tunes, or models evaluated.
        tokens: Tokens trained and scored.
        seconds: Wall time.
        peak_bytes: Memory of all processes together.
        done: Whether the output folder already holds its result.
    """

    name: str
    what: str
    runs: int
    tokens: int
    seconds: float
    peak_bytes: int
    done: bool = False


class StepTotals:
    """The sums over the steps of a plan.

    Attributes:
        steps: In order.
    """

    steps: tuple[PlanStep, ...]

    @property
    def runs(self) -> int:
        """Fine-tunes, evaluations and scores of all steps."""
        return sum(step.runs for step in self.steps)

    @property
    def tokens(self) -> int:
        """Tokens of all steps."""
        return sum(step.tokens for step in self.steps)

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def seconds_left(self) -> float:
        """Wall time of the steps that are not done yet."""
        return sum(step.seconds for step in self.steps if not step.done)

    @property
    def peak_bytes(self) -> int:
        """Largest memory of any step."""
        return max((step.peak_bytes for step in self.steps), default=0)

    @property
    def totals(self) -> dict[str, float]:
        """All sums, as a plan's JSON form holds them."""
        return {
            "runs": self.runs,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "seconds_left": round(self.seconds_left, 1),
            "peak_bytes": self.peak_bytes,
        }


@dataclass(frozen=True)
class Plan(StepTotals):
    """All steps of a run, and the assumptions of the estimate.

    Attributes:
        name: The run.
        digest: The run's digest.
        output: Folder it writes to.
        parameters: Parameters of the model as given.
        pruned_parameters: Approximate number of parameters after pruning.
        adapter_parameters: Budget: parameters of every adapter.
        slots: Slots of the space.
        steps: In order.
        assumptions: Assumptions of the figures, one sentence each.
        method: What the adapters are, one of `methods.METHODS`.
    """

    name: str
    digest: str
    output: str
    parameters: int
    pruned_parameters: int
    adapter_parameters: int
    slots: int
    steps: tuple[PlanStep, ...]
    assumptions: tuple[str, ...]
    method: str = LORA

    def to_json(self) -> dict[str, Any]:
        """Return all figures as a JSON-like dict."""
        return {**asdict(self), "totals": self.totals}
