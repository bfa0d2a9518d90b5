"""What each step of a run depends on, and the digest of exactly that.

A step's digest is made of the values it reads and of the digests of the steps it builds on. Two runs whose
digests of a step agree may share its result; a run whose later steps change keeps the earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from rankadaptor.config.job import JobConfig, StepInputs
from rankadaptor.files import compute_digest

STEP_INPUTS: Mapping[str, StepInputs] = {
    "prepare": StepInputs(
        ("seed", "model", "compute", "prune", "data", "recipe.sequence_length", "recover.method")
    ),
    "space": StepInputs(("space",), after=("prepare",)),
    "tune": StepInputs(("recipe", "search.steps"), after=("space",)),
    "search": StepInputs(("search", "measure"), after=("tune",)),
    "confirm": StepInputs(("confirm",), after=("search",)),
    "choose": StepInputs(("recover.choose", "recover.steps"), after=("tune",)),
    "adapters": StepInputs(
        ("recover.steps", "recover.evaluate_every", "recover.patience", "recover.choose"), after=("search",)
    ),
    "recover": StepInputs(("recover",), after=("adapters",)),
    "scores": StepInputs(("evaluate.benchmarks", "evaluate.limit"), after=("prepare",)),
    "adapter_scores": StepInputs(after=("scores", "adapters")),
    "evaluate": StepInputs(("evaluate",), after=("adapter_scores",)),
}
"""Of the rank search, in the order in which they are done. `adapters` are the trained weights of `recover`,
`scores` and `adapter_scores` the answers of `evaluate`, by models without and with an adapter."""

FIXED = ("prepare", "space", "tune", "search")
"""Steps that a run folder holds once: with another of these it holds another run."""

ADAPTED = ("uniform", "searched", "random", "linear_in_depth")
PLACES: Mapping[str, tuple[str, ...]] = {
    "confirm": ("steps/confirm.json",),
    "choose": ("steps/choose.json", "choosing"),
    "adapters": tuple(f"adapters/{name}" for name in ADAPTED),
    "recover": ("steps/recover.json",),
    "scores": ("scores/dense.json", "scores/pruned.json"),
    "adapter_scores": tuple(f"scores/{name}.json" for name in ADAPTED),
    "evaluate": ("steps/evaluate.json",),
}
"""Where results of steps that may be repeated with other settings are kept, per entry of `STEP_INPUTS`."""


def digest_steps(config: JobConfig) -> dict[str, str]:
    """Return the digest of every step, and of every part of one with files of its own."""
    values = config.list_inputs()
    digests: dict[str, str] = {}
    for name, inputs in config.kind.steps.items():
        keys = list_step_keys(config, name)
        read = {key: value for key, value in values.items() if any(_covers(given, key) for given in keys)}
        digests[name] = compute_digest({"keys": read, "after": [digests[step] for step in inputs.after]})
    return digests


def list_step_keys(config: JobConfig, step: str) -> tuple[str, ...]:
    """Return the keys and sections that a step of this run reads itself."""
    keys = config.kind.steps[step].keys
    measure = getattr(config, "measure", None)
    if step == "search" and measure is not None and measure.kind == "elastic" and measure.steps is None:
        return (*keys, "recover.steps")  # as long as an elastic adapter is trained then
    return keys


def is_fixed(config: JobConfig, key: str) -> bool:
    """Tell whether a dotted key belongs to what a run folder holds once."""
    return any(_covers(given, key) for step in config.kind.fixed for given in list_step_keys(config, step))


def _covers(given: str, key: str) -> bool:
    return key == given or key.startswith(f"{given}.")
