"""Recovery: an allocation becomes a PEFT adapter, trained by one loop."""

from rankadaptor.requirements import BITSANDBYTES, hide_if_broken

hide_if_broken(BITSANDBYTES)  # before PEFT is imported, which fails with it

from rankadaptor.recovery.adapter_folder import RecoveredModel, load_adapter
from rankadaptor.recovery.final import recover
from rankadaptor.recovery.lora import adapt_temporarily, attach_adapter, detach_adapter, lora_config
from rankadaptor.recovery.training import StepReport, TrainingResult, fine_tune
from rankadaptor.recovery.tuning import RecipeTrial, TunedRecipe, tune_recipe

__all__ = [
    "RecipeTrial",
    "RecoveredModel",
    "StepReport",
    "TrainingResult",
    "TunedRecipe",
    "adapt_temporarily",
    "attach_adapter",
    "detach_adapter",
    "fine_tune",
    "load_adapter",
    "lora_config",
    "recover",
    "tune_recipe",
]
