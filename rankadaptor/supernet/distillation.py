"""In-place distillation: smaller slices of a step follow the predictions of its largest one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.supernet.plan import find_widest
from rankadaptor.training.teacher import Lesson, Teacher, check_vocabulary

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.supernet.network import SuperNetwork

Outputs = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


class InPlaceTeacher(Teacher):
    """The largest slice of a super-network as the teacher of the others [AmoebaLLM]_.

    Its last hidden states are those of the pass that trains it, without a gradient; a batch that was not
    packed passes it once more.

    Args:
        network: The super-network.
        compute: Device and precision.
    """

    def __init__(self, network: SuperNetwork, *, compute: Compute) -> None:
        self.model = self.causal_lm = network.model
        self.network, self.compute = network, compute
        self.share, self.temperature, self.hidden_weight = 1.0, network.recipe.temperature, 0.0
        self.seconds, self.tokens = 0.0, 0
        self.vocabulary = check_vocabulary(self.causal_lm, self.causal_lm)
        self.head = self.causal_lm.get_output_embeddings()
        self.student_blocks = self._blocks = ()
        self._kept: dict[tuple[object, ...], tuple[Sequence[TokenSequence], Lesson]] = {}

    @property
    def obstacle(self) -> str | None:
        """None: what the student can read, its largest slice can."""
        return None

    def keep(self, sequences: Sequence[TokenSequence], hidden: torch.Tensor, *, packed: bool = True) -> None:
        """Keep the hidden states of a batch's predicting tokens, `(targets, hidden)`, for this step."""
        self._kept[_name(sequences, packed=packed)] = (sequences, Lesson(self, hidden.detach(), ()))

    def forget(self) -> None:
        """Drop what was kept."""
        self._kept.clear()

    def _read(
        self, sequences: Sequence[TokenSequence], read: Callable[[], Outputs], *, packed: bool
    ) -> Lesson:
        key = _name(sequences, packed=packed)
        if key not in self._kept:
            training: Any = self.causal_lm.training
            with self.network.applied(find_widest(self.network.space)), torch.no_grad():
                self.causal_lm.eval()
                try:
                    self.keep(sequences, read()[0], packed=packed)
                finally:
                    self.causal_lm.train(training)
            self.tokens += sum(map(len, sequences))
        return self._kept[key][1]


def _name(sequences: Sequence[TokenSequence], *, packed: bool) -> tuple[object, ...]:
    return packed, *map(id, sequences)
