"""Fill docs/engine.md, and the sentence of docs/what-to-expect.md, from the bench's result file.

python -m experiments.bench.page
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.bench.document import RESULTS
from experiments.expectations import PAGE
from rankadaptor.files import read_json
from rankadaptor.report.markers import update_markers

PAGES = (Path("docs/engine.md"), PAGE)
FIGURES = {
    "tokens_per_second_ratio": ("tokens per second over those of `Trainer` + PEFT", "at least 1.6"),
    "distill_tokens_per_second_ratio": (
        "the same for a distillation with the same teacher in both",
        "at least 1.5",
    ),
    "matmul_share": ("share of the machine's matrix products that the needed operations reach", "0.75"),
    "two_workers_ratio": ("trials per second of two workers over those of one", "at least 1.8"),
    "plan_error": ("error of `plan` for the seconds of a trial", "at most 0.25"),
    "taylor_memory_ratio": (
        "Taylor pruning's memory beyond the weights over the plain way's",
        "at most 0.40",
    ),
    "search_to_finetune_ratio": (
        "tokens of a default run's search over those of one full fine-tune, scoring included",
        "below 1",
    ),
}
"""What is shown: key, meaning, aim."""


def render_page(results: dict[str, Any]) -> dict[str, str]:
    """Return the content of each marker: tables and a sentence."""
    return {
        "engine": "\n".join([*_write_figures(results), "", _describe_machine(results)]),
        "engine-speed": "\n".join(_write_speed(results)),
        "engine-distillation": _describe_distillation(results),
        "engine-plan": _describe_plan(results),
        "engine-sharing": _describe_sharing(results),
        "engine-search": _describe_search(results),
        "engine-sentence": _write_sentence(results),
    }


def _write_figures(results: dict[str, Any]) -> list[str]:
    lines = ["| figure | median | lowest to highest | aim |", "|---|---:|---:|---:|"]
    for key, (meaning, aim) in FIGURES.items():
        low, high = results[f"{key}_spread"]
        spread = "counted" if low == high else f"{low:.2f} to {high:.2f}"
        lines.append(f"| {meaning} (`{key}`) | {results[key]:.2f} | {spread} | {aim} |")
    return lines


def _write_speed(results: dict[str, Any]) -> list[str]:
    lines = [
        "| trained | tokens/s | `Trainer` + PEFT | ratio | share of products |",
        "|---|---:|---:|---:|---:|",
    ]
    for key in sorted(key for key in results if key.startswith("speed_")):
        case, rate = results[key], results[key]["tokens_per_second"]
        lines.append(
            f"| {case['what']}; r={case['rank']} on all linears | {rate['ours']:.0f} | {rate['plain']:.0f} "
            f"| {case['tokens_per_second_ratio']:.2f} | {case['matmul_share']:.2f} |"
        )
    return lines


def _describe_distillation(results: dict[str, Any]) -> str:
    shares = [results[f"speed_{name}"]["teacher_share_of_seconds"] for name in ("distill", "distill_text")]
    differences = [
        results[f"speed_{name}"]["largest_loss_difference"] for name in ("distill", "distill_text")
    ]
    low, high = (f"{100 * pick(shares):.0f}" for pick in (min, max))
    return (
        f"In the rows that distil the teacher takes {low if low == high else f'{low} to {high}'} % of "
        f"the time, its logits included, and the losses of the two loops differ by at most "
        f"{max(differences):.1g} nats per token.{_describe_packages(results)}"
    )


def _describe_packages(results: dict[str, Any]) -> str:
    """Name what those rows were measured with, where it is not what the others were."""
    found = (results.get("environments") or {}).get("speed_distill")
    if found is None:
        return ""
    mine, theirs = found["packages"], results["environment"]["packages"]
    other = [
        f"{name} {mine[name]}" for name in ("torch", "transformers", "peft") if mine[name] != theirs[name]
    ]
    return f" They were measured with {' and '.join(other)}." if other else ""


def _describe_machine(results: dict[str, Any]) -> str:
    machine = results["environment"]
    packages = ", ".join(f"{name} {machine['packages'][name]}" for name in ("torch", "transformers", "peft"))
    return (
        f"{machine['cores']} cores ({machine['machine']}), {results['threads']} thread a process, "
        f"{results['dtype']} ({results['dtype_reason']}); {packages}."
    )


def _write_sentence(results: dict[str, Any]) -> str:
    low, high = results["tokens_per_second_ratio_spread"]
    ratio, text = results["tokens_per_second_ratio"], results["speed_text"]["tokens_per_second_ratio"]
    tune, search, verdict = _read_costs(results)
    return (
        f"On instruction rows a trial trains {ratio:.2f} times the tokens per second ({low:.2f} to "
        f"{high:.2f}; {results['dtype']}) of `transformers.Trainer` with PEFT, with the same losses; on "
        f"full pieces of text {text:.2f} times. The search of a default run takes {search:.2f} times the "
        "tokens of one full fine-tune, scoring included; tuning the rate before it takes "
        f"{tune:.2f}, the verdict after it {verdict:.2f}."
    )


def _describe_plan(results: dict[str, Any]) -> str:
    trials = [each for case in ("alpaca", "text") for each in results["plan"][case]["seconds"]]
    ratios = [each["predicted"] / each["measured"] for each in trials]
    outside, high = sum(abs(ratio - 1) > 0.25 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
    return (
        f"Of the {len(ratios)} trials that `plan` foretold, {outside} took more than a quarter less or more, "
        f"and {high} less than foretold: the estimate is on the safe side."
    )


def _describe_sharing(results: dict[str, Any]) -> str:
    found = results["weights_shared"]
    shared = min(each["mapped"] / each["weights"] for each in found)
    private = max(each["private"] for each in found)
    return (
        f"{len(found)} workers side by side hold {100 * shared:.0f} % of the "
        f"{found[0]['weights'] / 1e6:.0f} MB of frozen weights in pages of the checkpoint that they share, "
        f"and {private / 1e6:.0f} MB each alone."
    )


def _describe_search(results: dict[str, Any]) -> str:
    tune, search, verdict = _read_costs(results)
    return (
        f"In tokens of one full fine-tune a default run spends {tune:.2f} on tuning the learning rate, "
        f"{search:.2f} on the search and {verdict:.2f} on the verdict under fresh seeds: "
        f"{tune + search:.2f} until there is an allocation to recover with, {tune + search + verdict:.2f} "
        "until it is known whether that was worth it. Scored tokens count like trained ones."
    )


def _read_costs(results: dict[str, Any]) -> tuple[float, float, float]:
    cost = results["search_cost"]
    tune, search, verdict = (
        float(cost[f"{part}_over_full_fine_tune"]) for part in ("tune", "search", "confirm")
    )
    return tune, search, verdict


if __name__ == "__main__":
    for page in PAGES:
        update_markers(page, render_page(read_json(RESULTS)))
