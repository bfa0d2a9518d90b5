"""What every step of a compression works with: the dense model, its text, and the space."""

from __future__ import annotations

import dataclasses
import functools
import logging
from dataclasses import dataclass
from typing import Any

from rankadaptor.config import CompressConfig
from rankadaptor.config.limits import read_size
from rankadaptor.corpus import RecordFile
from rankadaptor.named_models import load
from rankadaptor.pipeline.compression.texts import CALIBRATION, SEARCH, Texts, load_texts
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.runtime import Compute, choose_compute, count_cores
from rankadaptor.space import Space

logger = logging.getLogger(__name__)

IMPORTANCE_FILE = "importance.safetensors"
RECORDS_FILE = "records.jsonl"


@dataclass
class Setting:
    """The inputs of a run, loaded when they are first needed.

    Attributes:
        folder: The run's folder.
        config: The run.
        compute: Device, precision of products, threads.
        latency_model: Nanoseconds per token of each option, where the run measures them.
    """

    folder: RunFolder
    config: CompressConfig
    compute: Compute
    latency_model: Any = None

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

    @functools.cached_property
    def live(self) -> Any:
        """The dense model with its channels and heads ordered, to apply allocations to."""
        from rankadaptor.components.composition import LiveModel

        return LiveModel(
            self.model, scores=self._read_importance(), importance=self.config.choices.importance
        )

    @functools.cached_property
    def space(self) -> Space:
        """All configurations that respect the limits."""
        return build_space_of(self.config, self.model, self.tokenizer, latency_model=self.latency_model)

    @functools.cached_property
    def score(self) -> Any:
        """The measure of the search: KL to the dense model on the search text."""
        from rankadaptor.measure.slice_score import SliceScore

        return SliceScore(
            self.live,
            self.texts[SEARCH],
            compute=self.compute,
            records=RecordFile(self.config.search.records or self.folder.path / RECORDS_FILE),
        )

    def make_calibration(self) -> Any:
        """Return the token ids of the calibration text, `(windows, length)`."""
        import torch

        return torch.tensor([sequence.input_ids for sequence in self.texts[CALIBRATION]])

    def keep_importance(self, scores: list[Any]) -> None:
        """Write the scores of channels and heads into the run's folder."""
        from safetensors.numpy import save

        from rankadaptor.files import name_storage_fault, write_bytes

        path = self.folder.path / IMPORTANCE_FILE
        with name_storage_fault(path):
            write_bytes(path, save({f"{number:05d}": score for number, score in enumerate(scores)}))

    def _read_importance(self) -> list[Any]:
        from safetensors.numpy import load_file

        stored = load_file(self.folder.path / IMPORTANCE_FILE)
        return [stored[name] for name in sorted(stored)]


def pick_compute(config: CompressConfig) -> Compute:
    """Choose device, precision and threads as the run asks; without a number, every core is used."""
    given = config.compute
    return choose_compute(device=given.device, dtype=given.dtype, threads=given.threads or count_cores())


def build_space_of(config: CompressConfig, model: Any, tokenizer: Any, *, latency_model: Any = None) -> Space:
    """Build the space that a run file describes.

    Raises:
        InputError: If a type does not fit the model.
        BudgetError: If nothing keeps the limits; the message names the nearest that can be kept.
    """
    from rankadaptor.components.composition import build_space

    given, limits = config.choices, config.limits
    bounds: dict[str, str | float] = {}
    if limits.size is not None:
        bounds["bytes"] = read_size(limits.size)
    if limits.parameters is not None:
        bounds["parameters"] = limits.parameters
    if limits.latency is not None:
        bounds["latency"] = limits.latency
    return build_space(
        model,
        width=given.width,
        attention=given.attention,
        depth=given.depth,
        precision=given.types,
        embedding=given.embedding,
        limits=bounds,
        tokenizer=tokenizer,
        latency_model=latency_model,
    )
