"""A setting with its model loaded: its space, its text and its score."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.slice_corpus.description import Description
from rankadaptor.components.composition import build_space
from rankadaptor.corpus import RecordFile, Setting
from rankadaptor.data.text_sets import build_text_sets
from rankadaptor.named_models import load
from rankadaptor.runtime import Compute, choose_compute
from rankadaptor.space import Limit, Space

BYTES = "bytes"
SMALLEST = 128
"""Tokens of the sets of texts that this corpus does not use."""


@dataclass
class Opened:
    """The inputs of a setting, loaded when they are first needed.

    Attributes:
        description: The setting.
        scratch: Folder of the records while they are collected.
    """

    description: Description
    scratch: Path

    @functools.cached_property
    def compute(self) -> Compute:
        """One thread, so that scores repeat to the last bit."""
        return choose_compute(dtype=self.description.dtype, threads=1)

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model, tokenizer = load(self.description.model, compute=self.compute)
        self.compute.apply()
        return model, tokenizer

    @property
    def model(self) -> Any:
        """The dense model."""
        return self._loaded[0]

    @functools.cached_property
    def texts(self) -> Any:
        """Windows of calibration and of scores, which share no document."""
        given = self.description
        return build_text_sets(
            self._loaded[1],
            sources=given.text,
            length=given.length,
            tokens={
                "calibration": given.calibration,
                "search": given.tokens,
                "training": SMALLEST,
                "judging": SMALLEST,
            },
            seed=given.seed,
            model=self.model,
        )

    @functools.cached_property
    def calibration(self) -> Any:
        """Token ids of the calibration text, `(windows, length)`."""
        import torch

        return torch.tensor([sequence.input_ids for sequence in self.texts.calibration.sequences])

    @functools.cached_property
    def live(self) -> Any:
        """The model, ordered by importance."""
        from rankadaptor.components.composition import LiveModel

        return LiveModel(self.model, sequences=self.calibration, seed=self.description.seed)

    @functools.cached_property
    def space(self) -> Space:
        """The space without limits."""
        return build_space(self.model, tokenizer=self._loaded[1], **self.description.choices)

    def limit(self, band: str) -> Space:
        """Return the space of a band."""
        dense = self.space.reference().cost(BYTES)
        bound = round(self.description.bands[band] * dense)
        return dataclasses.replace(self.space, limits=(Limit(BYTES, bound),))

    @functools.cached_property
    def records(self) -> RecordFile:
        """The records while they are collected."""
        return RecordFile(self.scratch / f"{self.description.name}.jsonl")

    @functools.cached_property
    def score(self) -> Any:
        """The measure: KL to the dense model."""
        from rankadaptor.measure.slice_score import SliceScore

        return SliceScore(
            self.live,
            self.texts.search.sequences,
            compute=self.compute,
            records=self.records,
            setting=self.description.name,
            batch_tokens=self.description.few,
        )

    def describe(self) -> Setting:
        """Return the setting as the corpus holds it."""
        given = self.description
        return Setting(
            name=given.name,
            model={"name": given.model, "family": given.family, "type": self.model.config.model_type},
            pruning={"importance": self.live.importance, "order": self.live.order_digest},
            data={
                "text": list(given.text), "length": given.length, "tokens": given.tokens,
                "calibration": given.calibration, "seed": given.seed, "dtype": given.dtype,
            },
            recipe={},
            space=self.space.to_json(),
            held_out=given.held_out,
            command=f"python -m experiments.slice_corpus experiments/slice_corpus/{given.name}.yaml",
        )  # fmt: skip
