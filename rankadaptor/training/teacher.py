"""The teacher of a fine-tune: a frozen model that reads the same batches, and what it says of them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rankadaptor.errors import InputError
from rankadaptor.training.block_outputs import collect_outputs, match_blocks
from rankadaptor.training.packed_model import PackedModel, find_obstacle, find_window, get_causal_lm
from rankadaptor.training.products import is_plain_linear

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import Compute
    from rankadaptor.training.packing import PackedBatch

logger = logging.getLogger(__name__)

# Model types whose logits are lm_head(hidden) and nothing else; others have soft caps or logit scales.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "olmo2", "smollm3"})


class Teacher:
    """A frozen model whose predictions, and hidden states if the recipe asks for them, a student follows.

    Every batch passes the teacher once; several students that are trained on the same batch share the pass.
    Only hidden states are kept of it: logits are computed a few rows at a time, with the student's.

    A teacher that is the student's own model is asked with the adapter off: it is the model as it was before
    training, because training changes nothing but the adapter. The divergence then begins at zero and only
    holds the adapter back.

    Args:
        model: The teacher, on the student's device. It is not changed.
        student: The model that is trained, with its adapter.
        recipe: Gives loss, temperature and weights.
        compute: Device and precision.

    Attributes:
        seconds: Time spent in the teacher's passes and its logits.
        tokens: Tokens that it read, padding not counted.

    Raises:
        InputError: If the vocabularies differ, logits are not the output head's alone, or blocks are to be
            compared that cannot be matched.
    """

    def __init__(self, model: Any, student: Any, *, recipe: Recipe, compute: Compute) -> None:
        self.model, self.compute = model, compute
        self.causal_lm = get_causal_lm(model)
        self.share, self.temperature = recipe.kl_share, recipe.temperature
        self.hidden_weight = recipe.hidden_weight
        self.seconds, self.tokens = 0.0, 0
        trained = get_causal_lm(student)
        self._adapted = student if trained is self.causal_lm and trained is not student else None
        self.vocabulary = check_vocabulary(self.causal_lm, trained)
        self.head = self.causal_lm.get_output_embeddings()
        if _share_weights(trained, self.causal_lm):
            logger.warning(
                "The teacher is the model that is trained, without its adapter: the divergence begins at "
                "zero and only holds the adapter back. Give the model before pruning as teacher."
            )
        pairs = match_blocks(trained, self.causal_lm) if self.hidden_weight else ()
        self.student_blocks = tuple(pair[0] for pair in pairs)
        self._blocks = tuple(pair[1] for pair in pairs)
        self._packed = PackedModel(self.causal_lm, dtype=compute.torch_dtype)
        self._last: tuple[Any, Sequence[TokenSequence], Lesson] | None = None

    @property
    def obstacle(self) -> str | None:
        """Why the teacher cannot read packed batches; None if it can."""
        if self._adapted is not None:
            return None  # it is the student, which is asked itself
        return find_obstacle(self.model, dtype=self.compute.torch_dtype, training=False)

    @property
    def window(self) -> int | None:
        """Length of the attention window, None if there is none."""
        return find_window(self.model)

    def read_packed(self, sequences: Sequence[TokenSequence], batch: PackedBatch) -> Lesson:
        """Return what the teacher says of a packed batch."""

        def read() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            return self._packed.compute_outputs(batch, self._blocks)

        return self._read(sequences, read, packed=True)

    def read_padded(
        self, sequences: Sequence[TokenSequence], tokens: torch.Tensor, counted: torch.Tensor
    ) -> Lesson:
        """Return what the teacher says of a padded batch.

        Args:
            sequences: What the batch is made of.
            tokens: `(n, length)`, right-padded.
            counted: `(n, length - 1)`, True where a token predicts a label.
        """

        def read() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            with collect_outputs(self.causal_lm, self._blocks) as outputs:
                hidden = self.causal_lm.base_model(input_ids=tokens, use_cache=False)[0]
            return hidden[:, :-1][counted], tuple(each[:, :-1][counted] for each in outputs())

        return self._read(sequences, read, packed=False)

    def compute_logs(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities at the recipe's temperature, in float32, as a tensor of its own."""
        with self.timed(), torch.no_grad():
            logits = self._multiply_head(hidden).float()
            return torch.log_softmax(
                logits if self.temperature == 1.0 else logits.div_(self.temperature), dim=-1
            )

    def _multiply_head(self, hidden: torch.Tensor) -> torch.Tensor:
        if is_plain_linear(self.head) and hidden.dtype != self.head.weight.dtype:
            return F.linear(hidden, self._packed.read_head()[1])
        logits: torch.Tensor = self.head(hidden)
        return logits

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time inside to the teacher's seconds."""
        self._wait()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds += time.perf_counter() - started

    def _wait(self) -> None:
        if self.compute.device == "cuda":  # which computes later than it is asked to
            torch.cuda.synchronize()

    def _read(
        self,
        sequences: Sequence[TokenSequence],
        read: Callable[[], tuple[torch.Tensor, tuple[torch.Tensor, ...]]],
        *,
        packed: bool,
    ) -> Lesson:
        """Ask the teacher, or return what it said of the same sequences just before."""
        key = (packed, tuple(map(id, sequences)))
        if self._last is not None and self._last[0] == key:
            return self._last[2]
        with self.timed(), torch.no_grad(), self._as_teacher():
            hidden, outputs = read()
        self.tokens += sum(map(len, sequences))
        lesson = Lesson(self, hidden, outputs)
        self._last = (key, list(sequences), lesson)  # the sequences stay alive: their ids are not reused
        return lesson

    @contextlib.contextmanager
    def _as_teacher(self) -> Iterator[None]:
        """Switch dropout off, and the student's adapter where the teacher is under it."""
        with contextlib.ExitStack() as stack:
            if self._adapted is not None:
                stack.enter_context(self._adapted.disable_adapter())
            if self.causal_lm.training:
                self.causal_lm.eval()
                stack.callback(self.causal_lm.train)
            yield


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the tokens of one batch that predict a label.

    Attributes:
        teacher: The teacher.
        hidden: Its last hidden states, `(targets, hidden)`.
        outputs: Outputs of its matched blocks, each `(targets, hidden)`.
    """

    teacher: Teacher
    hidden: torch.Tensor = field(repr=False)
    outputs: tuple[torch.Tensor, ...] = field(repr=False)

    @property
    def share(self) -> float:
        """Weight of the KL divergence."""
        return self.teacher.share

    @property
    def temperature(self) -> float:
        """Temperature of both models."""
        return self.teacher.temperature

    @property
    def vocabulary(self) -> int:
        """Tokens of the vocabulary."""
        return self.teacher.vocabulary

    def compute_logs(self, piece: slice) -> torch.Tensor:
        """Return the log-probabilities of some rows, `(rows, vocabulary)` in float32."""
        return self.teacher.compute_logs(self.hidden[piece])

    def compare_outputs(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weighted mean cosine distance of a student's block outputs, `(targets,)`."""
        total = torch.zeros(len(self.hidden), device=self.hidden.device)
        for mine, theirs in zip(outputs, self.outputs, strict=True):
            total = total + (1 - F.cosine_similarity(mine.float(), theirs.float(), dim=-1))
        return total * (self.teacher.hidden_weight / max(1, len(self.outputs)))


def open_teacher(model: Any, student: Any, *, recipe: Recipe, compute: Compute) -> Teacher | None:
    """Return the teacher of a fine-tune, or None if its recipe has none.

    Raises:
        InputError: If a teacher is needed and missing or given and not needed, or does not fit the student.
    """
    if (model is not None) != recipe.needs_teacher:
        given = f"loss={recipe.loss!r}, hidden_weight={recipe.hidden_weight:g}"
        raise InputError(
            f"The recipe has {given}, which needs a teacher. Give the model before pruning as teacher, or "
            "loss='plain' and hidden_weight=0."
            if model is None
            else f"A teacher is given, but the recipe has {given}, which does not read it. Give "
            "loss='distill' or 'mixed', or no teacher."
        )
    if model is None:
        return None
    return Teacher(model, student, recipe=recipe, compute=compute)


def _share_weights(student: Any, teacher: Any) -> bool:
    """Tell whether all of a teacher's weights are those of the student in memory."""
    places = {value.data_ptr() for value in student.parameters()}
    return all(value.data_ptr() in places for value in teacher.parameters())


def check_vocabulary(teacher: Any, student: Any) -> int:
    """Return the number of tokens that both models predict.

    Raises:
        InputError: If they differ, or a model's logits are more than its output head.
    """
    sizes = [len(model.get_output_embeddings().weight) for model in (teacher, student)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"The teacher predicts {sizes[0]} tokens, the model {sizes[1]}: their probabilities cannot be "
            "compared. Give a teacher with the model's tokenizer, as a rule the model before pruning, or "
            "loss='plain' without a teacher."
        )
    for model in (teacher, student):
        if model.config.model_type not in PLAIN_HEADS:
            raise InputError(
                f"Logits of {model.config.model_type} are more than the product with the output head, which "
                f"distillation needs. It works for {', '.join(sorted(PLAIN_HEADS))}; use loss='plain'."
            )
    return sizes[0]
