"""Rows, page and figure of the study, from its records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from experiments.recovery.figure import FIGURE, draw_losses
from experiments.recovery.law import fit_law, keep_law
from experiments.recovery.records import FOLDER, Records
from experiments.recovery.rows import Row, list_rows
from experiments.recovery.targets import (
    TEXTS,
    compare_losses,
    compare_quantised,
    compare_with_default,
    compare_with_llm_pruner,
)
from rankadaptor.errors import InputError
from rankadaptor.files import write_json, write_text
from rankadaptor.planning.token_law import FILE, TokenLaw
from rankadaptor.results.table import ABSENT, Table, write_loss, write_percent

logger = logging.getLogger(__name__)

RESULT = Path("experiments/results/recovery.json")

INTRODUCTION = """\
# What a recovery is worth

Written from experiments/results/recovery.json by `python -m experiments.recovery --into docs/recovery.md`;
not edited by hand. How to use it is in [how-to/recover-your-model.md](how-to/recover-your-model.md).

Pruned models are recovered with equal numbers of tokens. *Uniform* widths are LLM-Pruner's: the same share
of heads and channels of every block but the first and last few. *Searched* widths have as many parameters
and were found by the sweep, exact optimum and refinement of `compress`. Every rate that is not given was
chosen on text of its own, at the length of the training and on a seed that judges nothing. Losses are in
nats per token, means over paired seeds, on two texts that chose nothing: text of the kind that was trained
on, from other documents, and text of another domain. *Regained* is the share of the loss that pruning cost
and the recovery won back, on the judging text; above 100 % the training fits the model to the text as well.
"""


def write_study(page: Path, *, folder: Path = FOLDER, result: Path = RESULT, law: Path = FILE) -> str:
    """Write the rows of all records, the page, its figure, and the law that `plan` uses.

    Args:
        page: The document.
        folder: Folder of the records.
        result: The result file.
        law: Where the law is kept.

    Returns:
        What was written, in words.

    Raises:
        InputError: If nothing was recorded.
    """
    rows: list[Row] = []
    for file in sorted(folder.glob("*-models.json")):
        records = Records(file.name.removesuffix("-models.json"), folder=folder)
        name = records.path.stem
        rows += list_rows(records.read(), records.read_models(), setting=name)
    if not rows:
        raise InputError(
            f"{folder}: no training is recorded. Run `python -m experiments.recovery --minutes 60`."
        )
    write_json(result, rows)
    draw_losses(rows, file=FIGURE)
    fitted: TokenLaw | None = None
    try:
        fitted = fit_law(rows)
    except InputError as error:
        logger.info("no law over tokens: %s", error)
    else:
        keep_law(fitted, file=law)
    write_text(page, render_page(rows, fitted))
    return f"wrote {result} ({len(rows)} rows), {FIGURE} and {page}"


def render_page(rows: Sequence[Row], law: TokenLaw | None) -> str:
    """Return the document as Markdown."""
    parts = [INTRODUCTION, f"![Loss over the tokens of the recovery](../{FIGURE})\n"]
    tables = (
        compare_with_llm_pruner(rows),
        compare_losses(rows),
        compare_quantised(rows),
        compare_with_default(rows),
    )
    for table in tables:
        if table.rows:
            parts += [f"## {table.title}\n", table.to_markdown()]
    if law is not None:
        parts += ["## More tokens\n", describe_law(law)]
    parts += ["## All recoveries\n", list_all(rows).to_markdown()]
    return "\n".join(parts).rstrip() + "\n"


def describe_law(law: TokenLaw) -> str:
    """Return the law and what it foretells, as Markdown."""
    lines = ["| tokens | regained | 95 % interval |", "|---:|---:|---:|"]
    first, last = law.tokens
    for tokens in (first, 4 * first, last, 4 * last):
        share, low, high = law.predict(tokens)
        lines.append(
            f"| {tokens:,} | {write_percent(share)} | {write_percent(low)} to {write_percent(high)} |"
        )
    table = "\n".join(lines)
    return (
        f"The share regained on both texts after D tokens ({law.setting}, {law.pruning}) is described by "
        f"1 − (1 + D / {law.scale:,.0f})^−{law.exponent:.3f}. `plan` uses it to say what more tokens would "
        f"bring; the last line of the table is extrapolated.\n\n{table}\n"
    )


def list_all(rows: Sequence[Row]) -> Table:
    """Return one line per row."""
    lines = [
        (
            f"{row['setting']}, {row['widths']}, {write_percent(row['ratio'])}",
            row["bits"] or ABSENT, row["method"], row["loss_kind"], f"{row['learning_rate']:g}",
            f"{row['tokens']:,}", str(len(row["seeds"])),
            *(write_loss(row[f"loss_{text}"]) for text in TEXTS),
            write_percent(row["regained"]),
            ABSENT if row["regained_low"] is None
            else f"{write_percent(row['regained_low'])} to {write_percent(row['regained_high'])}",
            f"{row['seconds']:.0f}",
        )
        for row in rows
    ]  # fmt: skip
    return Table(
        name="recoveries",
        title="All recoveries",
        header=(
            "model", "bits", "method", "loss", "rate", "tokens", "seeds", *TEXTS.values(), "regained",
            "95 % interval", "seconds",
        ),
        rows=tuple(lines),
    )  # fmt: skip
