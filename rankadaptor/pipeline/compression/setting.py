"""What every step of a compression works with: the dense model, its text, and the space."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankadaptor.config import CompressConfig, ElasticConfig
from rankadaptor.corpus import RecordFile
from rankadaptor.named_models import load
from rankadaptor.pipeline.compression.importance_file import read_importance
from rankadaptor.pipeline.compression.texts import CALIBRATION, SEARCH, Texts, load_texts
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.runtime import Compute, choose_compute, count_cores, read_free_memory
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
class Setting:
    """The inputs of a run, loaded when they are first needed.

    Attributes:
        folder: The run's folder.
        config: The run.
        compute: Device, precision of products, threads of one process.
        workers: Processes that may compute at a time. Results do not depend on it.
        latency_model: Nanoseconds per token of each option, where the run measures them.
    """

    folder: RunFolder
    config: CompressConfig
    compute: Compute
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

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        # In float32, whatever products are computed in: the file is made from these weights.
        exact = dataclasses.replace(self.compute, dtype="float32", quantise=None)
        model, tokenizer = load(self.config.model, compute=exact)
        self.compute.apply()
        return model, tokenizer

    @property
    def model(self) -> Any:
        """The dense model, in float32."""
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded[1]

    @functools.cached_property
    def texts(self) -> Texts:
        """The text, divided."""
        return load_texts(self.config, self.tokenizer, model=self.model)

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
    def space(self) -> Space:
        """All configurations that respect the limits."""
        return build_space_of(self.config, self.model, self.tokenizer, latency_model=self.latency_model)

    @functools.cached_property
    def score(self) -> SliceScore | SlicePool:
        """The measure of the search: KL to the dense model on the search text."""
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

    def make_calibration(self) -> Any:
        """Return the token ids of the calibration text, `(windows, length)`."""
        import torch

        return torch.tensor([sequence.input_ids for sequence in self.texts[CALIBRATION]])

    def fit_memory(self) -> None:
        """Lower the number of workers to what the free memory holds."""
        free = read_free_memory()
        if self.workers < 2 or free is None:
            return
        weights = sum(tensor.numel() for tensor in self.model.parameters()) * FLOAT_BYTES
        possible = max(int(FREE_SHARE * free / (PROCESS_BYTES + weights * (1 + COPIES))), 1)
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

    return SliceScore(setting.live, sequences, compute=setting.compute, records=records)


def pick_compute(config: CompressConfig | ElasticConfig) -> Compute:
    """Choose device and precision as the run asks, and the threads of one process.

    On a CPU that is one thread, whatever the run may use: results then do not depend on their number.
    """
    given = config.compute
    compute = choose_compute(device=given.device, dtype=given.dtype, threads=given.threads or count_cores())
    return compute if compute.device != "cpu" else dataclasses.replace(compute, threads=1)


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
