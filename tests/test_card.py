from __future__ import annotations

import re

import pytest
import yaml

from rankadaptor.card import render_card, write_card
from rankadaptor.errors import InputError
from tests.report.documents import make_document


def read_header(card: str) -> dict:
    _, header, _ = card.split("---\n", 2)
    return yaml.safe_load(header)


def test_the_header_is_what_a_hub_reads():
    document = make_document()
    header = read_header(render_card(document, adapter="searched"))
    assert header["library_name"] == "peft"
    assert "base_model" not in header  # the kit's name means nothing to a hub
    document["run"]["config"]["model"] = "meta-llama/Llama-3.2-1B"
    header = read_header(render_card(document, adapter="searched"))
    assert "base_model" not in header  # the unpruned model, which the adapter does not fit
    assert "base_model_relation" not in header
    document["run"]["config"]["prune"] = None  # the run was given it as it is
    assert read_header(render_card(document, adapter="searched"))["base_model"] == "meta-llama/Llama-3.2-1B"


def test_a_card_names_the_adapter_after_its_folder_and_replaces_what_peft_left(tmp_path):
    folder = tmp_path / "searched"
    folder.mkdir()
    (folder / "README.md").write_text("# Model Card for Model ID")
    card = write_card(folder, make_document()).read_text(encoding="utf-8")
    assert "# LoRA adapter `searched`" in card
    assert "Model ID" not in card
    with pytest.raises(InputError, match=r"recovered uniform, searched, random"):
        write_card(tmp_path, make_document())
    with pytest.raises(InputError, match="no such folder"):
        write_card(tmp_path / "absent", make_document())


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["blocks"], "(20.0 % of its parameters removed: whole blocks)"),
        (["heads", "channels"], "removed: whole attention heads and MLP channels)"),
        (None, "This LoRA adapter was trained for"),
    ],
)
def test_a_card_says_what_was_pruned(targets, expected):
    document = make_document()
    document["result"]["pruning"] = (
        {"achieved_ratio": 0.2, "settings": {"targets": targets}} if targets else {"achieved_ratio": 0.0}
    )
    assert expected in render_card(document, adapter="searched")


@pytest.mark.parametrize(("outcome", "recommended"), [("better", "searched"), ("no difference", "uniform")])
def test_a_card_says_which_adapter_the_run_recommends(outcome, recommended):
    document = make_document(outcome=outcome)
    for adapter in ("uniform", "searched"):
        card = render_card(document, adapter=adapter)
        if adapter == recommended:
            assert "This is the adapter that the run recommends" in card
        else:
            assert f"The run recommends the adapter `{recommended}` instead" in card


def test_a_card_shows_ranks_losses_accuracies_recipe_and_the_largest_rank():
    document = make_document(outcome="better")
    candidate = document["result"]["verdict"]["candidate"]
    card = render_card(document, adapter="searched")
    assert f"The largest rank is {max(candidate)}." in card
    assert "--max-lora-rank" in card
    assert "PeftModel.from_pretrained" in card
    for words in (
        "nats per token after 100 steps",
        "| predictor | meta, trained on a corpus of earlier measurements |",
        "| verdict | 5 pairs of 24-step fine-tunes on fresh seeds (the recovery has 100 steps) |",
        "| precision | float32 on cpu, 1 thread a process |",
        "rankadaptor 0.1.0, commit `abcdef012345`",
        "| searched | 3.3990 |",
        "| block | attention | mlp |",
        "| learning rate | 0.003 |",
        "| peft |",
    ):
        assert words in card
    assert "The same rank everywhere: 8." in render_card(document, adapter="uniform")


def test_ranks_of_other_baselines_come_from_their_own_values():
    document = make_document()
    assert "## Ranks" not in render_card(document, adapter="random")
    document["result"]["recovered"]["random"]["values"] = [4] * len(document["result"]["space"]["slots"])
    assert "The same rank everywhere: 4." in render_card(document, adapter="random")


def test_data_that_is_for_research_only_is_named():
    document = make_document()
    assert "research only" not in render_card(document, adapter="uniform")
    document["run"]["config"]["data"] = {"train": "kit:alpaca"}
    assert "research only" in render_card(document, adapter="uniform")


@pytest.mark.parametrize(
    "missing", ["losses", "benchmarks", "space", "verdict", "recipe", "pruning", "search"]
)
def test_a_card_stands_missing_parts(missing):
    document = make_document()
    del document["result"][missing]
    assert "## Load it" in render_card(document, adapter="searched")


def test_the_budget_is_named_for_what_it_counts():
    document = make_document()
    assert "within the budget of 2,442,240 parameters" in render_card(document, adapter="uniform")
    document["result"]["space"] |= {"budget": 192, "mode": "rank_sum"}
    assert "within the budget of 192 summed ranks" in render_card(document, adapter="uniform")


def test_the_code_on_a_card_loads_the_adapter_without_this_package(
    pico_model, pico_tokenizer, tmp_path, monkeypatch
):
    import torch

    from rankadaptor.components.adapter import RankSpace
    from rankadaptor.components.adapter.lora import attach_adapter
    from rankadaptor.model import save_pruned
    from rankadaptor.pruning import prune
    from rankadaptor.recipe import Recipe

    texts = ["A river runs through the old town and under three bridges."] * 8
    pruned = prune(
        pico_model(),
        pico_tokenizer,
        ratio=0.3,
        calibration=texts,
        scope="global",
        align=4,
        examples=4,
        length=8,
    )
    save_pruned(pruned, pico_tokenizer, tmp_path / "pruned")
    space = RankSpace.from_model(pruned, like_uniform=2, slots="block", ranks=(0, 1, 2, 4))
    adapted = attach_adapter(pruned, space.reference(), Recipe(), seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(len(name)))
    folder = tmp_path / "adapters" / "uniform"
    adapted.save_pretrained(folder)
    card = write_card(folder, make_document()).read_text(encoding="utf-8")

    code = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert len(code) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    inputs = torch.arange(3, 15).reshape(1, -1)
    with torch.no_grad():
        expected = adapted.eval()(input_ids=inputs).logits
        for block in code:
            exec(block, names)
            found = names["model"].eval()(input_ids=inputs).logits
            assert (found - expected).abs().max() < 1e-4, block
