"""LoRA adapters on a live model and on disk, through PEFT."""

from rankadaptor.requirements import BITSANDBYTES, hide_if_broken

hide_if_broken(BITSANDBYTES)  # before PEFT is imported, which fails with it

from rankadaptor.components.adapter.lora.attach import (
    adapt_temporarily,
    attach_adapter,
    detach_adapter,
    lora_config,
)
from rankadaptor.components.adapter.lora.folder import RecoveredModel, load_adapter

__all__ = [
    "RecoveredModel",
    "adapt_temporarily",
    "attach_adapter",
    "detach_adapter",
    "load_adapter",
    "lora_config",
]
