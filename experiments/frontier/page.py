"""docs/compress.md: the frontier in tables and a figure, written from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.frontier.rows import OURS, Row
from experiments.frontier.targets import build_targets, describe_stock, find_sizes, find_speedup
from experiments.slices.section import describe_scores
from rankadaptor.files import write_text
from rankadaptor.results.table import ABSENT, write_count, write_loss

PAGE = Path("docs/compress.md")
FIGURE = Path("experiments/results/figures/frontier.png")

INTRODUCTION = """\
# What compression to a size is worth

Written from experiments/results/frontier.json by `python -m experiments.frontier --into docs/compress.md`;
not edited by hand. How to use the command is in [how-to/compress.md](how-to/compress.md).

Every file is a GGUF file that llama.cpp runs. Loss is in nats per token of the file's own weights, on two
texts that chose nothing: text of the kind that the search and the recovery saw, from other documents, and
text of another domain. *Recovered* files had the same LoRA fine-tune on the same tokens, the dense model
too. Their adapters were trained through the rounding of the file's types where the table says so (types whose
packing is not known to the training, as those of Q3_K_M and Q2_K, are rounded afterwards) and are merged. The
dense weights of kit:smollm2-135m lie on the grid of Q4_1, so Q4_1 costs nothing there as long as the weights
are untouched.
"""


def write_page(
    rows: Sequence[Row],
    *,
    searches: Sequence[Row] = (),
    scores: Sequence[Row] = (),
    file: Path = PAGE,
    figure: Path = FIGURE,
) -> None:
    """Write the document.

    Args:
        rows: The rows of the result file.
        searches: Rows of other ways of searching, if they were measured.
        scores: Rows on the cost of scores and the errors of latency, if they were measured.
        file: The document.
        figure: The figure it shows, which lies beside the result file.
    """
    parts = [INTRODUCTION]
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        parts += [f"## {setting}\n", _describe_dense(own)]
        parts.append(f"![Loss over file size](../{figure.with_stem(f'{figure.stem}-{_slug(setting)}')})\n")
        targets = build_targets(own)
        if targets.rows:
            parts += [f"### {targets.title}\n", targets.to_markdown()]
        parts += [_describe_speed(own), "### All files\n", _list_files(own), _describe_costs(own)]
        if others := [row for row in searches if row["setting"] == setting]:
            parts += ["### Ways of searching\n", _list_searches(others)]
    parts.append(describe_scores(scores))
    write_text(file, "\n".join(parts).rstrip() + "\n")


def _slug(setting: str) -> str:
    return setting.replace(":", "-")


def _describe_dense(rows: Sequence[Row]) -> str:
    return (
        f"The dense model has {write_loss(rows[0]['loss_dense_judging'])} on the judging text and "
        f"{write_loss(rows[0]['loss_dense_other'])} on the text of another domain.\n"
    )


def _describe_speed(rows: Sequence[Row]) -> str:
    if not any(row["generate_tokens_per_second"] for row in rows):
        return "Tokens per second are left out: the runs shared the processor with others.\n"
    found = find_speedup(rows)
    if found is None:
        stock = describe_stock(find_sizes(rows))
        return f"No file of ours with a measured speed is as good as the best of the {stock}.\n"
    return (
        f"At the loss of {found['reference']}, {found['ours']} has {found['prompt']:.2f} times its prompt "
        f"and {found['generate']:.2f} times its generated tokens per second on one thread.\n"
    )


def _list_files(rows: Sequence[Row]) -> str:
    lines = [
        "| file | limit | MB | parameters | judging text | other domain | prompt tok/s | generated tok/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        name = f"**{row['method']}**" if row["kind"] == OURS else row["method"]
        name += ", trained through the rounding" if row.get("through_rounding") else ""
        speeds = (row["prompt_tokens_per_second"], row["generate_tokens_per_second"])
        lines.append(
            f"| {name} | {row['limit'] or ABSENT} | {row['bytes'] / 1e6:.2f} | "
            f"{write_count(row['parameters'])} | {write_loss(row['loss_judging'])} | "
            f"{write_loss(row['loss_other'])} | "
            + " | ".join(ABSENT if speed is None else f"{speed:.0f}" for speed in speeds)
            + " |"
        )
    return "\n".join(lines) + "\n"


def _list_searches(rows: Sequence[Row]) -> str:
    """List what each search reached, and its lowest divergence after some numbers of evaluations."""
    most = max(row["evaluations"] for row in rows)
    marks = sorted({most // 4, most // 2, 3 * most // 4, most} - {0})
    lines = [
        "Lowest KL divergence to the dense model on the search text, in nats per token, after so many "
        "evaluations. The sweep is counted where a search uses it.\n",
        f"| limit | search | {' | '.join(f'after {mark}' for mark in marks)} | evaluations | tokens | "
        "seconds |",
        "|---|---" + "|---:" * (len(marks) + 3) + "|",
    ]
    for row in rows:
        reached = [
            min((best for count, best in row["history"] if count <= mark), default=None) for mark in marks
        ]
        lines.append(
            f"| {row['limit']} | {row['method']} | {' | '.join(map(write_loss, reached))} | "
            f"{row['evaluations']} | {write_count(row['tokens_scored'])} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _describe_costs(rows: Sequence[Row]) -> str:
    ours = [row for row in rows if row["kind"] == OURS and row["evaluations"]]
    parts = [
        f"{row['limit']}: {row['evaluations']} configurations, {write_count(row['tokens_scored'])} tokens "
        f"scored, {write_count(row['tokens_trained'])} trained"
        for row in ours
        if row["recovered"]
    ]
    return f"Cost of our files, the shared sweep counted in each: {'; '.join(parts)}.\n" if parts else ""
