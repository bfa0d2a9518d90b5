"""docs/family.md: the claims of the related systems and what came out here, written from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.family.claims import CLAIMS, LEAST_TOKENS, MARGIN
from experiments.family.rows import Row
from rankadaptor.files import write_text
from rankadaptor.results.table import ABSENT, write_count, write_gain, write_interval, write_loss

PAGE = Path("docs/family.md")
INTRODUCTION = f"""\
# The related systems as presets: claims and verdicts

Written from experiments/results/family.json by `python -m experiments.family --into docs/family.md`; not
edited by hand. The presets are run files of one job: [lonas](how-to/train-a-super-network.md),
[shears](how-to/search-sparse-adapters.md), [sqft](how-to/merge-sparse-quantised.md),
[llama_nas](how-to/search-depth-and-width.md).

The claims were made for models of billions of parameters, trained for hours. The runs here are small, so a
verdict says what holds at this size. Losses are in nats per token on two texts that chose nothing. A gain is
the loss of the reference less that of the preset's result, with a 95 % interval over paired sequences;
positive is better. References were trained on as many tokens, at the better one of the rates that were
tried. *Not worse* means that both intervals lie above −{MARGIN}; a claim to be better needs both above zero,
and is not reproduced where one lies below {MARGIN}. A run with fewer than {LEAST_TOKENS:,} tokens of training
decides nothing.
"""


def write_page(rows: Sequence[Row], *, file: Path = PAGE) -> None:
    """Write the document."""
    ours = [row for row in rows if row["ours"]]
    parts = [INTRODUCTION, "## Claims\n", _list_claims(ours, rows)]
    missing = [name for name in CLAIMS if name not in {row["preset"] for row in ours}]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.\n")
    for row in ours:
        own = [each for each in rows if each["run"] == row["run"]]
        parts += [f"## {row['preset']}: {row['setting']}\n", _list_models(own), _describe_run(row)]
    write_text(file, "\n".join(parts).rstrip() + "\n")


def _list_claims(ours: Sequence[Row], rows: Sequence[Row]) -> str:
    lines = [
        "| preset | claim | compared with | gain, judging text | gain, other domain | verdict | because |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ours:
        beside = [each for each in rows if (each["run"], each["model"]) == (row["run"], row["against"])]
        gains = [_write_gain(beside[0][name] if beside else None) for name in ("gain_judging", "gain_other")]
        lines.append(
            f"| {row['preset']} | {row['claim']} | {row['against']} | {' | '.join(gains)} | "
            f"**{row['verdict']}** | {row['reason']} |"
        )
    return "\n".join(lines) + "\n"


def _list_models(rows: Sequence[Row]) -> str:
    lines = [
        "| model | parameters | judging text | other domain | result's gain, judging | "
        "result's gain, other | rate | tokens trained | tokens scored |",
        "|---|---:|---:|---:|---|---|---:|---:|---:|",
    ]
    for row in rows:
        name = f"**{row['model']}** (the result)" if row["ours"] else row["model"]
        lines.append(
            f"| {name} | {write_count(row['parameters'])} | {write_loss(row['loss_judging'])} | "
            f"{write_loss(row['loss_other'])} | {_write_gain(row['gain_judging'])} | "
            f"{_write_gain(row['gain_other'])} | {row['rate'] or ABSENT} | "
            f"{write_count(row['tokens_trained'])} | {write_count(row['tokens_scored'])} |"
        )
    return "\n".join(lines) + "\n"


def _describe_run(row: Row) -> str:
    parts = [f"Seeds: {', '.join(map(str, row['seeds']))}. The run took {row['seconds']:,} seconds."]
    if row["bytes"]:
        parts.append(
            f"The result's file has {row['bytes'] / 1e6:.1f} MB and {write_loss(row['loss_file_judging'])} "
            f"and {write_loss(row['loss_file_other'])} nats per token on the two texts; it reads "
            f"{row['prompt_tokens_per_second']:.0f} and writes {row['generate_tokens_per_second']:.0f} "
            "tokens per second on one thread."
        )
    return " ".join(parts) + "\n"


def _write_gain(gain: Sequence[float | None] | None) -> str:
    if gain is None or gain[0] is None:
        return ABSENT
    return f"{write_gain(gain[0])} ({write_interval(gain[1], gain[2])})"
