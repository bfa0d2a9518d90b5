"""The code that uses what a run left: the pruned model, an adapter, and both merged into one model."""

from __future__ import annotations


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
