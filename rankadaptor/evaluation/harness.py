"""lm-eval's model interface for a model in memory, with this package's progress instead of lm-eval's output.

Imported only for an evaluation, because importing lm-eval's model class takes seconds.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from rankadaptor.data.model_limits import check_tokens
from rankadaptor.errors import InputError
from rankadaptor.progress import Progress

logger = logging.getLogger(__name__)


class ModelInMemory(HFLM):  # type: ignore[misc]  # lm_eval is untyped
    """A causal language model behind the interface of lm-eval.

    Log-likelihoods are normalised in float32 for any model precision: the resolution of bfloat16 is as coarse
    as the differences between answers.

    Attributes:
        tokens: Positions computed so far, padding included.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, batch_size=batch_size, softmax_dtype="float32"
        )
        self.tokens = 0
        self._progress: Progress | None = None

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
        """Answer (context, continuation) requests; lm-eval's progress bar is off by default."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(self, requests: Any, **options: Any) -> Any:
        # Continuations of one token share a row with others of their context; rows are padded by batch.
        rows = {tuple(context + continuation[:-1]) for _, context, continuation in requests}
        self._check(token for _, *parts in requests for part in parts for token in part)
        lengths = sorted((len(row) for row in rows), reverse=True)
        size = int(self.batch_size)
        total = sum(
            lengths[start] * len(lengths[start : start + size]) for start in range(0, len(lengths), size)
        )
        longest = max(len(continuation) for _, _, continuation in requests)
        if longest > self.max_length:
            raise InputError(
                f"an answer of {longest} tokens does not fit the model's {self.max_length} positions."
            )
        cut = sum(
            len(context) + len(continuation) > self.max_length + 1 for _, context, continuation in requests
        )
        if cut:
            logger.warning(
                "evaluate: %d of %d requests exceed the model's %d positions and are cut at the beginning",
                cut, len(requests), self.max_length,
            )  # fmt: skip
        with Progress("evaluate", total, unit="tokens") as self._progress:
            return super()._loglikelihood_tokens(requests, **options)

    def _model_generate(self, context: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        self._check(context.flatten().tolist())
        answer: torch.Tensor = super()._model_generate(context, *rest, **options)
        return answer

    def _check(self, ids: Iterable[int]) -> None:
        """Refuse token ids outside the model's embedding."""
        check_tokens(ids, self.tokenizer, self.model)

    def _model_call(self, inps: torch.Tensor, **options: Any) -> torch.Tensor:
        logits: torch.Tensor = super()._model_call(inps, **options)
        self.tokens += inps.numel()
        if self._progress is not None:
            self._progress.advance(inps.numel())
        return logits[:, -inps.shape[1] :]  # prompt tuning gives those of its virtual tokens too


@contextlib.contextmanager
def contain() -> Iterator[None]:
    """Silence lm-eval and datasets inside the context, and restore the global random state afterwards."""
    import datasets
    import lm_eval.api.task as task_module

    chatty = logging.getLogger("lm_eval")
    level, bars, bar = chatty.level, datasets.is_progress_bar_enabled(), task_module.tqdm
    state = random.getstate()  # lm-eval draws message ids from it
    chatty.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    # It shows a progress bar per benchmark while it writes prompts, and has no option to hide it.
    task_module.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        chatty.setLevel(level)
        random.setstate(state)
        task_module.tqdm = bar
        if bars:
            datasets.enable_progress_bars()
