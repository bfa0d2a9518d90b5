"""The recipe: everything about a recovery fine-tune except which ranks it uses."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.methods import LORA, find_method

SCHEDULES = ("cosine", "linear", "constant")
RANDOM, GRADIENT = "random", "gradient"
INITIALISATIONS = (RANDOM, GRADIENT)
PLAIN, DISTILL, MIXED = "plain", "distill", "mixed"
LOSSES = (PLAIN, DISTILL, MIXED)
RSLORA = "rslora"
EXPONENT_PROBES = 2
"""Random allocations that scaling exponents are compared on."""
GRADIENT_ROWS = 64
"""Training sequences that a start along the gradient looks at."""
GRADIENT_GROUP_BYTES = 2 * 1024**3
"""Float32 gradients that are held at once; those of 135 million parameters are a quarter of it."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; part of a setting, tuned on uniform before any allocation is compared.

    Attributes:
        learning_rate: Peak rate of AdamW.
        scaling_exponent: γ in LoRA scale = c · r^−γ, one of 0, 0.5, 1. Under Adam a linear's update grows
            with its number of rank-one terms, so with γ = 0 a larger rank acts like a larger learning rate.
        scale_at_reference: LoRA scale of a linear at `reference_rank`, so that
            c = scale_at_reference · reference_rank^γ.
        reference_rank: The rank at which all exponents agree, normally the rank of uniform.
        batch_size: Sequences per optimiser step.
        micro_batch_size: Sequences per forward pass; `batch_size` is a multiple of it.
        sequence_length: Tokens per sequence at most.
        steps: Optimiser steps of a full fine-tune; a record's fidelity is its share of them.
        warmup_share: Share of the steps with a rising rate.
        schedule: `cosine`, `linear` (both decay to a tenth) or `constant`.
        weight_decay: AdamW's decay on the adapter.
        gradient_clip: Largest gradient norm; 0 clips nothing.
        dropout: LoRA dropout.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        initialisation: Where A begins: `random`, as PEFT has it, or `gradient`, along the leading directions
            of each linear's first gradient (see `recovery.initialisation`). B begins at zero.
        loss: `plain`, the next-token loss; `distill`, the forward KL divergence from a teacher over the whole
            vocabulary, in place of it [ModelOpt]_; or `mixed`, a weighted sum of both.
        temperature: Both models' logits are divided by it in the KL divergence, which is multiplied by its
            square [Distillation]_. 1 is the choice of [Minitron]_.
        distill_weight: Weight of the KL divergence in `mixed`; the next-token loss has the rest.
        hidden_weight: Weight of an added cosine distance between the outputs of each kept block and of the
            same block of the teacher [Puzzle]_; 0 leaves it out. Meant for models that lost blocks.
        method: What is trained, one of `methods.METHODS`. Of the fields above, `dropout` and those of scale
            and rank are read by the methods that have low-rank factors.
        virtual_tokens: Virtual tokens of prompt and prefix tuning.
        bottleneck_width: Inner width of bottleneck adapters.
    """

    learning_rate: float = 3e-3
    scaling_exponent: float = 1.0
    scale_at_reference: float = 2.0
    reference_rank: int = 8
    batch_size: int = 8
    micro_batch_size: int = 8
    sequence_length: int = 128
    steps: int = 400
    warmup_share: float = 0.06
    schedule: str = "cosine"
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    dropout: float = 0.0
    gradient_checkpointing: bool = False
    initialisation: str = RANDOM
    loss: str = PLAIN
    temperature: float = 1.0
    distill_weight: float = 0.5
    hidden_weight: float = 0.0
    method: str = LORA
    virtual_tokens: int = 20
    bottleneck_width: int = 64

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule={self.schedule!r}: allowed are {', '.join(SCHEDULES)}.")
        if self.initialisation not in INITIALISATIONS:
            raise InputError(
                f"initialisation={self.initialisation!r}: allowed are {', '.join(INITIALISATIONS)}."
            )
        if self.loss not in LOSSES:
            raise InputError(f"loss={self.loss!r}: allowed are {', '.join(LOSSES)}.")
        if self.temperature <= 0 or not 0 < self.distill_weight < 1 or self.hidden_weight < 0:
            raise InputError(
                f"temperature={self.temperature}, distill_weight={self.distill_weight}, "
                f"hidden_weight={self.hidden_weight}: a temperature above 0, a share between 0 and 1 (all "
                "of it is loss='distill'), and a weight that is not negative."
            )
        self._check_method()
        if self.learning_rate <= 0 or self.steps < 1 or self.batch_size < 1 or self.micro_batch_size < 1:
            raise InputError("learning_rate, steps, batch_size and micro_batch_size must be positive.")
        if self.scale_at_reference <= 0 or self.reference_rank < 1 or self.sequence_length < 2:
            raise InputError(
                f"scale_at_reference={self.scale_at_reference}, reference_rank={self.reference_rank}, "
                f"sequence_length={self.sequence_length}: a scale above 0, a rank of at least 1 and 2 tokens."
            )
        if not (0 <= self.warmup_share < 1 and 0 <= self.dropout < 1):
            raise InputError(
                f"warmup_share={self.warmup_share}, dropout={self.dropout}: shares from 0 to below 1."
            )
        if self.gradient_clip < 0 or self.weight_decay < 0:
            raise InputError(
                f"gradient_clip={self.gradient_clip}, weight_decay={self.weight_decay}: must not be negative."
            )
        if self.batch_size % self.micro_batch_size:
            raise InputError(
                f"batch_size={self.batch_size} is not a multiple of micro_batch_size={self.micro_batch_size}."
            )

    def _check_method(self) -> None:
        method = find_method(self.method)
        if self.initialisation == GRADIENT and not method.ranks:
            raise InputError(
                f"initialisation={GRADIENT!r} sets the factors A of LoRA, which {method.title} does not "
                f"have. Leave it {RANDOM!r}."
            )
        if self.method == RSLORA and self.scaling_exponent != 1.0:
            raise InputError(
                f"scaling_exponent={self.scaling_exponent}: {method.title} fixes how the scale falls with "
                "the rank. Leave scaling_exponent at 1, or take method='lora' with the exponent."
            )
        if self.method == "prompt_tuning" and self.hidden_weight > 0:
            raise InputError(
                f"hidden_weight={self.hidden_weight}: with {method.title} the model reads more tokens than "
                "its teacher, so that outputs of blocks cannot be compared. Leave it 0."
            )
        if self.virtual_tokens < 1 or self.bottleneck_width < 1:
            raise InputError(
                f"virtual_tokens={self.virtual_tokens}, bottleneck_width={self.bottleneck_width}: must be at "
                "least 1."
            )

    def scale(self, rank: int) -> float:
        """Return the factor of a linear's low-rank update at this rank; 0 for rank 0.

        It is alpha / r, or alpha / √r with the method `rslora`; alpha is that of uniform in both.
        """
        if rank == 0:
            return 0.0
        if self.method == RSLORA:
            return float(self.scale_at_reference * self.reference_rank / math.sqrt(rank))
        return float(self.scale_at_reference * (self.reference_rank / rank) ** self.scaling_exponent)

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def kl_share(self) -> float:
        """Weight of the KL divergence from the teacher; the next-token loss has the rest of 1."""
        return {PLAIN: 0.0, DISTILL: 1.0, MIXED: self.distill_weight}[self.loss]

    @property
    def needs_teacher(self) -> bool:
        """Whether a fine-tune with this recipe needs a teacher."""
        return self.loss != PLAIN or self.hidden_weight > 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict.

        Fields that came later are left out at their default: what was written before there was a choice keeps
        its digest.
        """
        fields = dataclasses.asdict(self)
        return {key: value for key, value in fields.items() if key not in LATER or value != LATER[key]}


EARLIEST = (
    "learning_rate", "scaling_exponent", "scale_at_reference", "reference_rank", "batch_size",
    "micro_batch_size", "sequence_length", "steps", "warmup_share", "schedule", "weight_decay",
    "gradient_clip", "dropout", "gradient_checkpointing",
)  # fmt: skip
LATER = {each.name: each.default for each in dataclasses.fields(Recipe) if each.name not in EARLIEST}
"""Fields that came later than the first recipes, with their defaults."""
