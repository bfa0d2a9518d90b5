"""Training: one loop, its loss, checkpoints, process groups, and the packed LoRA engine."""

from rankadaptor.requirements import BITSANDBYTES, hide_if_broken

hide_if_broken(BITSANDBYTES)  # before PEFT is imported, which fails with it

from rankadaptor.training.loop import fine_tune
from rankadaptor.training.result import StepReport, TrainingResult

__all__ = ["StepReport", "TrainingResult", "fine_tune"]
