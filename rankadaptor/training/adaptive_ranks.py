"""What AdaLoRA does beside the gradient steps of a fine-tune: its penalty, its cuts, its state [AdaLoRA]_.

Sensitivities, the schedule of the budget and the cuts are PEFT's. The penalty is written out here, since
PEFT adds it only to a loss that the model itself computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rankadaptor.components.adapter.lora.attach import ADAPTER_NAME

SMOOTHED = ("exp_avg_ipt", "exp_avg_unc")
PATTERN = "rank_pattern"


class AdaptiveRanks:
    """The ranks of one AdaLoRA adapter while it is trained.

    Args:
        peft_model: A model with an AdaLoRA adapter.
    """

    def __init__(self, peft_model: Any) -> None:
        self.tuner = peft_model.base_model
        self.config = peft_model.peft_config[ADAPTER_NAME]

    def compute_penalty(self) -> torch.Tensor:
        """Return the weighted mean distance of the factors from orthogonality, in the Frobenius norm."""
        norms = []
        for name, value in self.tuner.model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                products = value @ value.T if ".lora_A." in name else value.T @ value
                norms.append(torch.linalg.matrix_norm(products - torch.eye(len(products)).to(products)))
        return float(self.config.orth_reg_weight) * torch.stack(norms).mean()

    def allocate(self, step: int) -> None:
        """Update the sensitivities and cut ranks as the schedule says; before gradients are dropped."""
        self.tuner.update_and_allocate(step)

    def collect_state(self) -> dict[str, torch.Tensor]:
        """Return what a resumed fine-tune needs: smoothed sensitivities, and which ranks are kept."""
        allocator = self.tuner.rankallocator
        state = {
            f"{kind}.{name}": value for kind in SMOOTHED for name, value in getattr(allocator, kind).items()
        }
        pattern = self.config.rank_pattern or {}
        return state | {f"{PATTERN}.{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Set what `collect_state` returned."""
        allocator, device = self.tuner.rankallocator, next(self.tuner.model.parameters()).device
        allocator.reset_ipt()
        pattern = {}
        for key, value in state.items():
            kind, _, name = key.partition(".")
            if kind == PATTERN:
                pattern[name] = value.tolist()
            else:
                getattr(allocator, kind)[name] = value.to(device)
                allocator.ipt[name] = torch.zeros_like(value, device=device)
        self.config.rank_pattern = pattern or None


def find_adaptive_ranks(model: Any) -> AdaptiveRanks | None:
    """Return the ranks that a fine-tune of a model has to adapt; None without AdaLoRA."""
    adapted = hasattr(getattr(model, "base_model", None), "rankallocator")
    return AdaptiveRanks(model) if adapted else None
