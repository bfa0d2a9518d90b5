"""Python code that loads a run's pruned model and adapter, and merges them."""

from __future__ import annotations

from typing import Any

from rankadaptor.results.document import Document


def write_loading_code(adapter: str) -> str:
    """Write Python that loads a recovered adapter with plain transformers and PEFT, and merges it.

    Its paths are relative to the run's output folder.

    Args:
        adapter: Name of the recovered allocation.
    """
    return f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

pruned = "pruned"  # relative to the run's output folder
tokenizer = AutoTokenizer.from_pretrained(pruned)
model = AutoModelForCausalLM.from_pretrained(pruned, trust_remote_code=True)
model = PeftModel.from_pretrained(model, "adapters/{adapter}")
"""


def write_merging_code() -> str:
    """Write Python that continues `write_loading_code`: it merges the adapter and saves the model."""
    return """\
model = model.merge_and_unload()
model.save_pretrained("merged")
tokenizer.save_pretrained("merged")
"""


def explain_quantised(document: Document) -> str:
    """Explain that an adapter was trained on quantised weights, if it was; else empty."""
    recorded: dict[str, Any] = (document.get("result") or {}).get("compute") or {}
    asked: dict[str, Any] = ((document.get("run") or {}).get("config") or {}).get("compute") or {}
    quantise = recorded.get("quantise") or asked.get("quantise")
    if not quantise:
        return ""
    return (
        f"The adapter was trained over frozen linears in {quantise}. This code loads them in the precision "
        "of the checkpoint, so losses differ slightly from those below."
    )
