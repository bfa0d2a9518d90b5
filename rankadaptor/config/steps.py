"""What each step of a run depends on, and the digest of exactly that.

A step's digest is made of the values it reads and of the digests of the steps it builds on. Two runs whose
digests of a step agree may share its result; a run whose later steps change keeps the earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankadaptor.files import compute_digest

if TYPE_CHECKING:
    from rankadaptor.config.run import RunConfig


@dataclass(frozen=True)
class StepInputs:
    """What a step, or a part of one that is kept in files of its own, depends on.

    Attributes:
        keys: Keys and sections of the run file that it reads.
        after: What it builds on.
    """

    keys: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


STEP_INPUTS: Mapping[str, StepInputs] = {
    "prepare": StepInputs(("seed", "model", "compute", "prune", "data", "recipe.sequence_length")),
    "space": StepInputs(("space",), after=("prepare",)),
    "tune": StepInputs(("recipe", "search.steps"), after=("space",)),
    "search": StepInputs(("search", "measure"), after=("tune",)),
    "confirm": StepInputs(("confirm",), after=("search",)),
    "adapters": StepInputs(
        ("recover.steps", "recover.evaluate_every", "recover.patience"), after=("search",)
    ),
    "recover": StepInputs(("recover",), after=("adapters",)),
    "scores": StepInputs(("evaluate.benchmarks", "evaluate.limit"), after=("prepare",)),
    "adapter_scores": StepInputs(after=("scores", "adapters")),
    "evaluate": StepInputs(("evaluate",), after=("adapter_scores",)),
}
"""In the order in which they are done. `adapters` are the trained weights of `recover`, `scores` and
`adapter_scores` the answers of `evaluate`, by models without and with an adapter."""

FIXED = ("prepare", "space", "tune", "search")
"""Steps that a run folder holds once: with another of these it holds another run."""


def digest_steps(config: RunConfig) -> dict[str, str]:
    """Return the digest of every entry of `STEP_INPUTS`."""
    values = config.list_inputs()
    digests: dict[str, str] = {}
    for name, inputs in STEP_INPUTS.items():
        keys = list_step_keys(config, name)
        read = {key: value for key, value in values.items() if any(_covers(given, key) for given in keys)}
        digests[name] = compute_digest({"keys": read, "after": [digests[step] for step in inputs.after]})
    return digests


def list_step_keys(config: RunConfig, step: str) -> tuple[str, ...]:
    """Return the keys and sections that a step of this run reads itself."""
    keys = STEP_INPUTS[step].keys
    if step == "search" and config.measure.kind == "elastic" and config.measure.steps is None:
        return (*keys, "recover.steps")  # as long as a super-adapter is trained then
    return keys


def is_fixed(config: RunConfig, key: str) -> bool:
    """Tell whether a dotted key belongs to what a run folder holds once."""
    return any(_covers(given, key) for step in FIXED for given in list_step_keys(config, step))


def _covers(given: str, key: str) -> bool:
    return key == given or key.startswith(f"{given}.")
