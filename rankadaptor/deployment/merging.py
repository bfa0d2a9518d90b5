"""An adapter merged into a copy of its model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.methods import METHODS, explain_unmergeable
from rankadaptor.model.quantisation import refuse_quantised


def merge_adapter(model: Any, adapter: str | Path | None) -> Any:
    """Return a model without adapter whose weights contain it.

    Args:
        model: A model, or one that PEFT put an adapter on; neither is changed.
        adapter: Folder of a saved adapter that was trained for `model`; None where the model carries it, or
            there is none.

    Returns:
        A second model with the adapter merged, which shares all weights that the adapter does not touch;
        `model` itself where there is nothing to merge.

    Raises:
        CheckpointError: If the adapter is damaged or belongs to another model.
        InputError: If the model is quantised, the adapter cannot be merged, or the model carries an adapter
            and another one is given.
    """
    from rankadaptor.components.adapter.bottleneck import BottleneckModel

    if isinstance(model, BottleneckModel):
        raise InputError(explain_unmergeable(METHODS["bottleneck"]))
    carries = bool(getattr(model, "peft_config", None))
    if adapter is None and not carries:
        return model
    if adapter is not None and carries:
        raise InputError(
            f"adapter={str(adapter)!r}: the model carries an adapter already. Give one of the two."
        )
    refuse_quantised(model.get_base_model() if carries else model, verb="merged")
    from rankadaptor.components.adapter.lora import load_adapter
    from rankadaptor.components.adapter.lora.folder import RecoveredModel, remember_base
    from rankadaptor.training.shared_weights import share_weights

    own = share_weights(model)
    if adapter is not None:
        own = load_adapter(own, adapter)
    own = remember_base(own, model, shared=True)
    if not isinstance(own, RecoveredModel):  # PEFT for no task in particular merges into the shared weights
        own = copy.deepcopy(own)
    return own.merge_and_unload().eval()
