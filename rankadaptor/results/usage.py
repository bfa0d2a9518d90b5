"""The code that uses what a run left: the pruned model, an adapter, and both merged into one model."""

from __future__ import annotations

from typing import Any

from rankadaptor.results.document import Document


def write_loading_code(adapter: str) -> str:
    """Write Python that loads a recovered adapter with plain transformers and PEFT, and merges it.

    Its paths count from the run's output folder.

    Args:
        adapter: Name of the recovered allocation.
    """
    return f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

pruned = "pruned"  # paths count from the run's output folder
tokenizer = AutoTokenizer.from_pretrained(pruned)
model = AutoModelForCausalLM.from_pretrained(pruned, trust_remote_code=True)
model = PeftModel.from_pretrained(model, "adapters/{adapter}")
"""


def write_merging_code() -> str:
    """Write Python that goes on from `write_loading_code`: one model without an adapter, saved."""
    return """\
model = model.merge_and_unload()
model.save_pretrained("merged")
tokenizer.save_pretrained("merged")
"""


def explain_quantised(document: Document) -> str:
    """Say in which precision an adapter was trained where the code above loads another; else empty."""
    recorded: dict[str, Any] = (document.get("result") or {}).get("compute") or {}
    asked: dict[str, Any] = ((document.get("run") or {}).get("config") or {}).get("compute") or {}
    quantise = recorded.get("quantise") or asked.get("quantise")
    if not quantise:
        return ""
    return (
        f"The adapter was trained over frozen linears in {quantise}. This code loads them in the precision "
        "of the checkpoint, so losses differ a little from those below."
    )
