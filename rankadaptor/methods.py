"""The methods of recovery: what each trains, what can be done with the result, and its learning rates.

No torch import. Every place that names a method reads this table: run files, the Python API, plans, help.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rankadaptor.errors import InputError

MethodName = Literal[
    "lora",
    "rslora",
    "dora",
    "adalora",
    "ia3",
    "prompt_tuning",
    "prefix_tuning",
    "bottleneck",
    "qlora",
    "full",
    "full_frozen_embeddings",
]
LORA: MethodName = "lora"
QLORA: MethodName = "qlora"
THROUGH_ROUNDING: tuple[MethodName, ...] = (LORA, "rslora")
"""Methods that can be trained through the rounding of the types of a file."""

Scales = Literal["fixed", "derived"]
FIXED: Scales = "fixed"
DERIVED: Scales = "derived"
SCALES: tuple[Scales, ...] = get_args(Scales)
"""Which scales the blocks have while a method trains through a rounding: always those of the weights that it
starts from, or at each step those that a quantiser derives from the weights."""


@dataclass(frozen=True)
class Method:
    """One way to recover a model by training.

    Attributes:
        name: Its word in run files.
        title: Its name in the literature.
        trains: What is trained.
        when: When to take it, by what it costs and allows.
        learning_rates: Peak rates of AdamW to try, ascending, each a factor of about 3 above the one before.
        basis: Where the rates come from.
        ranks: Whether every linear may have a rank of its own.
        saved: What the result is saved as.
        obstacle: Why the result cannot become part of the weights; None if it can.
        fewest_steps: Optimiser steps below which the method does not work.
    """

    name: MethodName
    title: str
    trains: str
    when: str
    learning_rates: tuple[float, ...]
    basis: str
    ranks: bool = False
    saved: str = "PEFT adapter"
    obstacle: str | None = None
    fewest_steps: int = 1

    @property
    def mergeable(self) -> bool:
        """Whether the result can become part of the weights, and so of a GGUF file."""
        return self.obstacle is None

    @property
    def learning_rate(self) -> float:
        """The middle rate, where none was tuned."""
        return self.learning_rates[len(self.learning_rates) // 2]

    @property
    def whole(self) -> bool:
        """Whether the model's own weights are trained."""
        return self.saved == "model"


_LORA_RATES = (1e-3, 3e-3, 6e-3)
_IN_CONTEXT = "its virtual tokens take part in the attention of every other token and are no weights"

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "lora",
            "LoRA",
            "two low-rank factors beside each linear",
            "The default. A rank per linear, merged without cost, the fastest training engine.",
            _LORA_RATES,
            "tuned on SmolLM2-135M here; [LoRA]_ uses 2e-4 at larger models and more steps",
            ranks=True,
        ),
        Method(
            "rslora",
            "rsLoRA",
            "as LoRA, scaled by alpha/√r instead of alpha/r",
            "Large ranks, whose updates LoRA's scale makes small.",
            (3e-4, 1e-3, 3e-3),
            "LoRA's divided by about 3, since the scale is √r times as large at one alpha [rsLoRA]_",
            ranks=True,
        ),
        Method(
            "dora",
            "DoRA",
            "as LoRA, and the length of each linear's rows",
            "Where LoRA of a small rank falls short of full fine-tuning; slower steps, same size.",
            _LORA_RATES,
            "LoRA's, as in [DoRA]_",
            ranks=True,
        ),
        Method(
            "adalora",
            "AdaLoRA",
            "low-rank factors whose ranks are cut from 1.5 times the target while training",
            "Ranks chosen by sensitivity in the same fine-tune, without a search.",
            (1e-3, 3e-3, 1e-2),
            "the 5e-4 to 2.2e-3 of [AdaLoRA]_ and above, for short recoveries",
            fewest_steps=10,  # it cuts ranks in the middle of the fine-tune
        ),
        Method(
            "ia3",
            "(IA)³",
            "one factor for each key, value and MLP channel",
            "The fewest parameters that can still be merged.",
            (3e-3, 1e-2, 3e-2),
            "from the 3e-3 of [IA3]_ upwards",
        ),
        Method(
            "prompt_tuning",
            "prompt tuning",
            "embeddings of virtual tokens before the text",
            "One set of weights that serves several adapters; costs context.",
            (3e-3, 3e-2, 3e-1),
            "up to the 0.3 of [PromptTuning]_",
            obstacle=_IN_CONTEXT,
        ),
        Method(
            "prefix_tuning",
            "prefix tuning",
            "keys and values of virtual tokens in every block",
            "As prompt tuning, with more parameters; key-value heads must be alike in all blocks.",
            (3e-3, 1e-2, 3e-2),
            "the 5e-3 to 1e-2 of [PTuning2]_ for prefixes without a re-parametrisation",
            obstacle=_IN_CONTEXT,
        ),
        Method(
            "bottleneck",
            "bottleneck adapters",
            "a small two-layer network behind each attention and each MLP",
            "A non-linear correction of each block; stays beside the weights and costs time in use.",
            (3e-4, 1e-3, 3e-3),
            "the upper end of the 3e-5 to 3e-3 of [Adapters]_, for short recoveries",
            saved="folder of this package",
            obstacle="its activation function lies between two products, which no single matrix can hold",
        ),
        Method(
            "qlora",
            "QLoRA",
            "as LoRA, on frozen linears held in 4 bits (NF4)",
            "Models that do not fit into memory otherwise; slower steps on a CPU.",
            _LORA_RATES,
            "LoRA's, as in [QLoRA]_",
            ranks=True,
        ),
        Method(
            "full",
            "full fine-tuning",
            "every weight",
            "Many tokens and memory for 16 bytes per parameter; nothing to merge.",
            (3e-5, 1e-4, 3e-4),
            "around the 1e-4 of [MinitronPractice]_ after pruning",
            saved="model",
        ),
        Method(
            "full_frozen_embeddings",
            "full fine-tuning, embeddings frozen",
            "every weight but the input embedding and the output head",
            "As full, for small models, whose embeddings are a large part and see few of their tokens.",
            (3e-5, 1e-4, 3e-4),
            "those of full fine-tuning",
            saved="model",
        ),
    )
}
"""All methods by name; LoRA is the default."""

assert set(METHODS) == set(get_args(MethodName)), "the names and the table differ"


FIRST_RANK = 1.5
"""Rank at which AdaLoRA begins, relative to the rank at which it ends on average: its default, 12 to 8."""


def choose_first_rank(rank: int) -> int:
    """Return the rank at which AdaLoRA begins, from the rank at which it ends on average."""
    return max(rank + 1, round(FIRST_RANK * rank))


def find_method(name: str) -> Method:
    """Return a method by its name.

    Raises:
        InputError: If there is none of this name; the message lists all.
    """
    if name not in METHODS:
        raise InputError(f"method={name!r}: allowed are {', '.join(METHODS)}.")
    return METHODS[name]


def explain_unmergeable(method: Method) -> str:
    """Say why a method's result cannot become part of the weights, and what to take instead."""
    others = ", ".join(name for name, each in METHODS.items() if each.mergeable)
    return f"{method.title} cannot be merged into the weights: {method.obstacle}. Take one of {others}."


def explain_no_ranks(method: Method) -> str:
    """Say why an allocation of ranks does not go with a method."""
    if method.name == "adalora":
        return "AdaLoRA chooses the rank of each linear while it trains"
    return f"{method.title} has no ranks"


def list_ranked() -> str:
    """Name the methods that have a rank for each linear."""
    return ", ".join(name for name, method in METHODS.items() if method.ranks)
