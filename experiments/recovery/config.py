"""The file of the study: model, text, lengths, ratios and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from rankadaptor.config import CompressConfig
from rankadaptor.config.document import read_document
from rankadaptor.config.loading import build_compression
from rankadaptor.config.sections import Section
from rankadaptor.config.text_sections import TextComputeSection
from rankadaptor.errors import ConfigError

WHOLE_TYPE = "F16"
"""Type of every tensor while widths are searched: precision is not chosen here."""


class SeedsSection(Section):
    """Paired seeds of a comparison at each length."""

    short: int = Field(default=5, ge=2)
    middle: int = Field(default=3, ge=2)
    long: int = Field(default=2, ge=2)


class Study(Section):
    """One base model and everything that its recoveries share."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the setting.")
    model: str = Field(min_length=1, description="kit:NAME, a folder or a hub id.")
    compute: TextComputeSection = Field(default=TextComputeSection(threads=1))
    text: tuple[str, ...] = Field(min_length=1, description="Sources of search, training and judging text.")
    other: str = Field(min_length=1, description="Text of another domain, which judges only.")
    instructions: str = Field(min_length=1, description="Rows of LLM-Pruner's recipe.")
    length: int = Field(default=128, ge=8, description="Tokens per sequence.")
    judge_sequences: int = Field(default=96, ge=2)
    search_sequences: int = Field(default=48, ge=2)
    training_tokens: int = Field(ge=1, description="Tokens that every training draws from.")
    lengths: tuple[int, int, int] = Field(description="Tokens of a training, ascending.")
    ratios: tuple[float, ...] = Field(min_length=1, description="Shares of the blocks' parameters removed.")
    skip: tuple[int, int] = Field(default=(0, 0), description="Whole blocks at the start and at the end.")
    evaluations: int = Field(default=140, ge=1, description="Scores of the search for widths, per ratio.")
    seeds: SeedsSection = SeedsSection()
    types: tuple[str, ...] = Field(default=(), description="Types that models are recovered for.")
    methods: tuple[str, ...] = Field(default=(), description="Methods beside LoRA, at the first length.")
    rank: int = Field(default=16, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0, description="Where the search for a rate begins.")
    speed: float = Field(default=150, gt=0, description="Tokens per second, before a training is recorded.")
    overhead: float = Field(default=60, ge=0, description="Seconds of loading and measuring, per training.")

    @model_validator(mode="after")
    def _check_lengths(self) -> Study:
        if list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError("lengths must ascend")
        return self

    @property
    def folder(self) -> Path:
        """Models, scores and checkpoints, all of which can be made again."""
        return Path("runs/recovery") / self.name

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimiser step on windows."""
        return self.batch_size * self.length

    def count_seeds(self, tokens: int) -> int:
        """Return the number of paired seeds at a length."""
        counts = (self.seeds.short, self.seeds.middle, self.seeds.long)
        return dict(zip(self.lengths, counts, strict=True))[tokens]

    def build_search(self, *, parameters: int | None = None) -> CompressConfig:
        """Return the search for widths under a limit on parameters, as a run of `compress`.

        Its texts do not depend on the limit: they are those of the study.
        """
        name = "texts" if parameters is None else f"search-{parameters}"
        values: dict[str, Any] = {
            "name": name,
            "output": str(self.folder / name),
            "model": self.model,
            "limits": {"parameters": "99%" if parameters is None else str(parameters)},
            "compute": self.compute.model_dump(),
            "data": {
                "text": list(self.text),
                "other": self.other,
                "length": self.length,
                "search_sequences": self.search_sequences,
                "judge_sequences": self.judge_sequences,
            },
            "choices": {"depth": False, "types": [WHOLE_TYPE], "embedding": [WHOLE_TYPE]},
            "search": {"evaluations": self.evaluations, "records": str(self.folder / "scores.jsonl")},
            "recover": {
                "steps": max(self.training_tokens // self.tokens_per_step, 1),
                "batch_size": self.batch_size,
            },
            "references": [],
            "export": {"engine": False},
            "track": {"enabled": False},
        }
        return build_compression(values, source=f"study {self.name}")


def load_study(path: Path) -> Study:
    """Read the file of a study.

    Raises:
        ConfigError: With all faults at once.
    """
    document = read_document(path, remedy="Copy experiments/recovery/smollm2-135m.yaml and change it.")
    try:
        return Study.model_validate(document.values, strict=False)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}"
            for each in error.errors(include_url=False)
        ]
        raise ConfigError(str(path), faults) from error
