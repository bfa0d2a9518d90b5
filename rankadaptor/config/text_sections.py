"""Sections of the jobs that divide text by document and search on a part of it: `compress` and `elastic`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rankadaptor.config.sections import Section
from rankadaptor.defaults import COMPRESSION as DEFAULTS

KINDS = "kit:NAME, hub:NAME, or a .jsonl, .json, .txt, .csv or .parquet file, a folder or a pattern"


class TextComputeSection(Section):
    """Where the run computes."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes CUDA where there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto takes bfloat16 where the processor multiplies it natively."
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the whole run; null takes every core it may use."
    )


class TextDataSection(Section):
    """Text, divided by document into parts that share none."""

    text: tuple[str, ...] = Field(
        default=("kit:c4", "kit:boolq-passages"),
        min_length=1,
        description=f"Text that resembles what the model is for; each of {KINDS}. Its documents are divided "
        "into calibration, search, training and judging text.",
    )
    other: str | None = Field(
        default="kit:lambada",
        min_length=1,
        description="Text of another domain, which judges only; null judges on the first text alone.",
    )
    length: int = Field(default=DEFAULTS.length, ge=8, description="Tokens per sequence, scored or trained.")
    search_sequences: int = Field(
        default=DEFAULTS.search_sequences, ge=1, description="Sequences that the search scores on."
    )
    judge_sequences: int = Field(
        default=DEFAULTS.judge_sequences, ge=2, description="Sequences of each judging text."
    )

    def list_sources(self) -> list[tuple[str, str]]:
        """Return all sources, each with the key that names it."""
        others = [] if self.other is None else [("data.other", self.other)]
        return [*(("data.text", source) for source in self.text), *others]
