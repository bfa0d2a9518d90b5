"""The inputs of a setting's trials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rankadaptor.pipeline.data_split import DataSplit
from rankadaptor.pipeline.execution import Execution
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute
from rankadaptor.space import Space


@dataclass(frozen=True)
class TrialSource:
    """Everything a process needs to measure trials of one setting.

    Attributes:
        model: Folder of the pruned model.
        space: The space that allocations belong to.
        recipe: Fine-tuning recipe.
        split: Training and held-out rows.
        steps: Optimiser steps of a trial unless a job says otherwise.
        setting: Setting name in the records.
        records: The run's record file.
        compute: Device, precision and threads of each process.
        execution: Where trials run and how long one may take.
        teacher: Name or folder of the model before pruning, if the recipe's loss follows it.
    """

    model: Path
    space: Space
    recipe: Recipe
    split: DataSplit
    steps: int
    setting: str
    records: Path
    compute: Compute
    execution: Execution = field(default_factory=Execution)
    teacher: str | None = None
