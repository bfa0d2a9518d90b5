"""What every step of a compression works with: the dense model, its text, and the space."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankadaptor.config import CompressConfig
from rankadaptor.corpus import RecordFile
from rankadaptor.pipeline.compression.importance_file import read_importance
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.text_jobs.setting import TextSetting, pick_compute
from rankadaptor.pipeline.text_jobs.texts import SEARCH
from rankadaptor.runtime import Compute, count_cores, read_free_memory
from rankadaptor.space import Space

if TYPE_CHECKING:
    from rankadaptor.data import TokenSequence
    from rankadaptor.measure import SlicePool, SliceScore

logger = logging.getLogger(__name__)

IMPORTANCE_FILE = "importance.safetensors"
RECORDS_FILE = "records.jsonl"
FLOAT_BYTES = 4
COPIES = 2  # rounded copies of the weights that a worker keeps, about
PROCESS_BYTES = 600_000_000  # Python with torch, and the hidden states that are kept
FREE_SHARE = 0.8  # of the free memory that workers may take together


@dataclass
class Setting(TextSetting[CompressConfig]):
    """The inputs of a compression.

    Attributes:
        workers: Processes that may compute at a time. Results do not depend on it.
        latency_model: Nanoseconds per token of each option, where the run measures them.
    """

    workers: int = 1
    latency_model: Any = None

    @classmethod
    def of_run(cls, folder: RunFolder, config: CompressConfig) -> Setting:
        """Return the inputs of a run, with the workers that its threads and the free memory allow."""
        compute = pick_compute(config)
        return cls(folder, config, compute, count_workers(config, device=compute.device))

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: not the model, which it loads, but texts that are read."""
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**state, **{name: self.__dict__[name] for name in ("texts",) if name in self.__dict__}}

    @property
    def stored(self) -> Compute:
        """The device; in float32, whatever products are computed in: the file is made from these weights."""
        return dataclasses.replace(self.compute, dtype="float32", quantise=None)

    @property
    def training_windows(self) -> int:
        """Windows of text that a recovery trains on."""
        recover = self.config.recover
        return recover.steps * recover.batch_size if recover is not None else 1

    def read_texts(self) -> None:
        """Read the text now, so that it travels to other processes."""
        _ = self.texts

    @functools.cached_property
    def live(self) -> Any:
        """The dense model with its channels and heads ordered, to apply allocations to."""
        from rankadaptor.components.composition import LiveModel

        scores = read_importance(self.folder.path / IMPORTANCE_FILE)
        return LiveModel(self.model, scores=scores, importance=self.config.choices.importance)

    @functools.cached_property
    def scored(self) -> Any:
        """The model that the search scores, to apply allocations to; `live` unless it is recovered first."""
        if not self.config.search.recovered_steps:
            return self.live
        from rankadaptor.components.composition import LiveModel
        from rankadaptor.pipeline.compression.scored_model import recover_dense

        scores = read_importance(self.folder.path / IMPORTANCE_FILE)
        model = recover_dense(self).model
        return LiveModel(model, scores=scores, importance=self.config.choices.importance)

    @functools.cached_property
    def space(self) -> Space:
        """All configurations that respect the limits."""
        return build_space_of(self.config, self.model, self.tokenizer, latency_model=self.latency_model)

    @functools.cached_property
    def score(self) -> SliceScore | SlicePool:
        """The measure of the search: KL to the model that is scored, as it is, on the search text."""
        from rankadaptor.measure import SlicePool

        records = RecordFile(self.config.search.records or self.folder.path / RECORDS_FILE)
        own = make_slice_score(self, self.texts[SEARCH], records=records)
        if self.workers < 2:
            return own
        return SlicePool(make_slice_score, (self, self.texts[SEARCH]), workers=self.workers, own=own)

    def count_screened(self) -> int:
        """Return the tokens that a configuration is scored on first."""
        return self.config.search.screen_sequences * self.config.data.length

    def count_scored(self) -> int:
        """Return the tokens of all scores in the run's file."""
        records = self.score.records
        return 0 if records is None else sum(record.tokens for record in records.records)

    def close_score(self) -> None:
        """End the workers of the score, if there are any; a later score starts new ones."""
        score = self.__dict__.pop("score", None)
        if score is not None and hasattr(score, "close"):
            score.close()

    def fit_memory(self) -> None:
        """Lower the number of workers to what the free memory holds."""
        free = read_free_memory()
        if self.workers < 2 or free is None:
            return
        weights = sum(tensor.numel() for tensor in self.model.parameters()) * FLOAT_BYTES
        models = 2 if self.config.search.recovered_steps else 1
        possible = max(int(FREE_SHARE * free / (PROCESS_BYTES + weights * (models + COPIES))), 1)
        if possible < self.workers:
            logger.warning(
                "memory: %.1f GB are free, enough for %d worker(s) instead of %d", free / 1e9, possible,
                self.workers,
            )  # fmt: skip
            self.workers = possible


def make_slice_score(
    setting: Setting, sequences: Sequence[TokenSequence], *, records: RecordFile | None = None
) -> SliceScore:
    """Build the measure of the search in this process."""
    from rankadaptor.measure import SliceScore

    return SliceScore(setting.scored, sequences, compute=setting.compute, records=records)


def count_workers(config: CompressConfig, *, device: str) -> int:
    """Return how many processes of one thread may compute at a time; one on a GPU."""
    if device != "cpu":
        return 1
    return config.compute.threads or count_cores()


def build_space_of(config: CompressConfig, model: Any, tokenizer: Any, *, latency_model: Any = None) -> Space:
    """Build the space that a run file describes.

    Raises:
        InputError: If a type does not fit the model.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
    """
    from rankadaptor.components.composition import build_space

    given, limits = config.choices, config.limits
    bounds = {"bytes": limits.size, "parameters": limits.parameters, "latency": limits.latency}
    return build_space(
        model,
        width=given.width,
        attention=given.attention,
        depth=given.depth,
        precision=given.types,
        embedding=given.embedding,
        limits={name: bound for name, bound in bounds.items() if bound is not None},
        tokenizer=tokenizer,
        latency_model=latency_model,
    )
