"""The document on the paper's claim, written from the rows of its test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.labels import label_method
from rankadaptor.files import write_text
from rankadaptor.results.table import Table, write_gain, write_interval, write_loss, write_percent

DOCUMENT = Path("docs/parity.md")
CLAIMED = (0.7, 5.5)
"""Improvement over the best earlier method that the paper's abstract states, per cent."""

Row = Mapping[str, Any]


def write_parity(rows: Sequence[Row], *, file: Path = DOCUMENT) -> None:
    """Write the document.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(file, render_parity(rows))


def render_parity(rows: Sequence[Row]) -> str:
    """Return the document as Markdown."""
    settings = sorted({str(row["setting"]) for row in rows})
    parts = [
        "# The paper's claim, tested\n",
        "Written from `experiments/results/parity.json` by "
        "`python -m experiments.parity experiments/parity/NAME.yaml`; not edited by hand.\n",
        "The paper reports gains over the best earlier method from 0.7 % to 5.5 % "
        "([RankAdaptor](references.md#RankAdaptor), abstract; zero-shot accuracy, single runs). Its "
        "set-up is reproduced here as far as it is published: one rank per block from a short list, blocks "
        "at both ends neither pruned nor searched, the sum of ranks of a uniform adapter as the budget, a "
        "five-layer perceptron on the rank vector, the allocation with the largest predicted gain measured "
        "next, and the best measured allocation as the result. In addition, each search is repeated on "
        "other seeds, and every winner is recovered again on fresh seeds, paired with uniform. Percentages "
        "are of perplexity on held-out text, since the benchmark accuracy of models of this size is near "
        "chance level.\n",
    ]
    if not rows:
        parts.append("Nothing has been measured yet.\n")
    for setting in settings:
        chosen = [row for row in rows if row["setting"] == setting]
        parts.append(f"## {setting}\n")
        parts += [f"{sentence}\n" for sentence in _list_set_ups(chosen)]
        paper, ours = ([row for row in chosen if row["method"] == name] for name in ("paper", "ours"))
        parts.append(_summarise(paper, ours))
        parts.append(build_table(chosen, setting).to_markdown())
    return "\n".join(parts)


def build_table(rows: Sequence[Row], setting: str) -> Table:
    """Return one line per ratio and search: claimed and confirmed gain."""
    lines = []
    for row in sorted(rows, key=lambda row: (row["ratio"], row["method"] != "paper", row["repeat"])):
        name = f"search {row['repeat'] + 1}" if row["method"] == "paper" else label_method(row["method"])
        lines.append(
            (
                f"{write_percent(row['ratio'])}, {name}",
                write_loss(row["loss_uniform"]),
                write_gain(row["claimed_gain"]),
                write_gain(row["gain"]),
                write_interval(row["gain_low"], row["gain_high"]),
                _write_signed(row["percent"]),
                write_percent(row["extra_regained"]),
                write_gain(row["noise_unpaired"]).lstrip("+"),
                row["outcome"],
            )
        )
    return Table(
        name=f"parity-{setting}",
        title=f"The paper's search and two-stage search on {setting}",
        header=(
            "ratio", "uniform", "claimed", "confirmed", "95 % interval", "perplexity", "more regained",
            "noise", "verdict",
        ),
        rows=tuple(lines),
        note="Losses and gains in nats per token, positive is better than uniform. *Claimed*: gain of "
        "the winner's own run in the search, at the length of a trial (for two stages: the predicted gain). "
        "*Confirmed*: the winner against uniform on fresh seeds. *Perplexity*: its decrease. *More "
        "regained*: the gain as a share of the loss that uniform ranks win back. *Noise*: standard deviation "
        "of the difference between two unpaired runs of uniform itself.",
    )  # fmt: skip


def _list_set_ups(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on the space of the paper's search, one per space."""
    sentences = []
    for row in rows:
        given = row.get("paper")  # absent in rows of earlier versions
        if given is None:
            continue
        first, last = given["skip_first"], given["skip_last"]
        ranks = ", ".join(str(rank) for rank in given["ranks"])
        sentences.append(
            f"The paper's search here: a rank out of {ranks} for each block, except {first} at the start and "
            f"{last} at the end; the sum of ranks is that of uniform r={given['uniform']}."
        )
    return sorted(set(sentences))


def _summarise(paper: Sequence[Row], ours: Sequence[Row]) -> str:
    if not paper:
        return ""
    better = sum(row["outcome"] == "better" for row in paper)
    worse = sum(row["outcome"] == "worse" for row in paper)
    claimed, held = _mean(paper, "claimed_percent"), _mean(paper, "percent")
    reached = sum((row["percent_low"] or -1.0) >= CLAIMED[0] for row in paper)
    ratios = _count(len({row["ratio"] for row in paper}), "ratio")
    sentences = [
        f"Over {len(paper)} searches at {ratios}, the winners' own "
        f"runs of {_list_steps(paper, 'trial_steps')} steps claim a perplexity lower by "
        f"{_write_signed(claimed)} on average. Recovered for {_list_steps(paper, 'steps')} steps on fresh "
        f"seeds, the difference is {_write_signed(held)}: selection bias and the other length explain the "
        f"rest. On fresh seeds {better} of {len(paper)} winners are better "
        f"than uniform, {worse} are worse, and for the other {len(paper) - better - worse} no difference is "
        f"found. A gain of at least {CLAIMED[0]} % is established for {reached} of them."
    ]
    chances = [row for row in paper if row["noise_unpaired"] is not None and row["gain"] is not None]
    if chances:
        inside = sum(abs(row["gain"]) < row["noise_unpaired"] for row in chances)
        sentences.append(
            f"For {inside} of {len(chances)} the effect is smaller than one standard deviation of the "
            "difference between two unpaired runs of uniform: a comparison of single runs cannot detect it."
        )
    if ours:
        good = sum(row["outcome"] == "better" for row in ours)
        bad = sum(row["outcome"] == "worse" for row in ours)
        sentences.append(
            "This package's two-stage search (finer slots, a budget in parameters, the trained predictor, "
            "finalists measured again on further seeds) "
            f"reaches {_write_signed(_mean(ours, 'percent'))} on the same pruned models: better in {good} of "
            f"{len(ours)}, worse in {bad}."
        )
    return " ".join(sentences) + "\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(values)) if values else None


def _list_steps(rows: Sequence[Row], key: str) -> str:
    return " or ".join(str(steps) for steps in sorted({row[key] for row in rows}))


def _write_signed(percent: float | None) -> str:
    return "–" if percent is None else f"{percent:+.2f} %".replace("-", "−")
