"""Training the predictor on a corpus, and the card that goes with it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.corpus import Corpus
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_text
from rankadaptor.predictor.meta_training import meta_train

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.predictor import MetaNetwork, MetaPredictor

logger = logging.getLogger(__name__)

CARD = "README.md"


def train_from_run(config: RunConfig, *, benchmark: Path | None = None) -> MetaPredictor | MetaNetwork:
    """Meta-train on `collect.corpus`, and write the predictor and its card into `meta_train.output`.

    Args:
        config: The run.
        benchmark: The summary that `rankadaptor benchmark --output` wrote; the card states what it found, if
            that was on the same corpus.

    Raises:
        InputError: If no setting has enough usable records.
        CorpusError: If the corpus has a fault.
        StorageError: If the folder cannot be written.
    """
    given, folder = config.meta_train, Path(config.meta_train.output)
    corpus = Corpus.load(config.collect.corpus)
    predictor = meta_train(
        corpus,
        seed=config.seed,
        model=given.model,
        algorithm=given.algorithm,
        inner_steps=given.inner_steps,
        inner_learning_rate=given.inner_learning_rate,
        epochs=given.epochs,
        learning_rate=given.learning_rate,
    )
    found = None
    if benchmark is not None and given.model == "hierarchy":
        found = _read_benchmark(benchmark, corpus.digest)
    predictor = dataclasses.replace(predictor, card={**predictor.card, "benchmark": found})
    predictor.save_pretrained(folder)
    write_text(folder / CARD, write_card(predictor.card))
    return predictor


def write_card(card: Mapping[str, Any]) -> str:
    """Return the card of a trained predictor as Markdown, from the facts stored with it."""
    settings = "\n".join(f"| `{name}` | {count} |" for name, count in card["settings"].items())
    lines = [
        "# Model card: the trained predictor\n",
        f"Written by `rankadaptor meta-train`. Trained on {card['summary']} (corpus digest "
        f"`{card['corpus_digest']}`). It predicts the gain of an allocation over uniform, in nats per "
        "token; `rankadaptor run` uses it with `search.predictor: meta`. It influences what is measured and "
        "has no influence on the verdict.\n",
        "| trained on | allocations |\n|---|---|\n" + settings + "\n",
    ]
    if card["not_trained_on"]:
        names = ", ".join(f"`{name}`" for name in card["not_trained_on"])
        lines.append(f"Not trained on (held out, or too few records): {names}.\n")
    lines += [
        "## Benchmark\n",
        _describe_benchmark(card.get("benchmark")),
        "## When not to trust it\n",
        LIMITS,
    ]
    return "\n".join(lines)


LIMITS = """\
- For models, lengths of fine-tunes or ranks far from those it was trained on: before the first records of a
  search its order can be wrong, and its standard deviations only reflect the differences between the settings
  above.
- For single linears: its inputs are types, depth, pruned shares and budget, and the records of the search.
- If the learning rate of the recipe was not tuned on uniform: a larger rank then acts like a larger learning
  rate, and gains can change their sign.
- In settings where ranks hardly matter: after a few records the predicted spread is below the noise, before
  the first record not always. Use uniform then.
"""


def _read_benchmark(path: Path, digest: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        summary = read_json(path)
    except InputError as error:
        logger.warning("the card has no benchmark: %s", error)
        return None
    if summary.get("corpus_digest") != digest:
        logger.warning(
            "%s is about another corpus, so the card has no benchmark. Run "
            "`rankadaptor benchmark --output` first.",
            path,
        )
        return None
    rows = {
        part: [row for row in summary[part] if row["predictor"] == "meta"]
        for part in ("with_signal", "without_signal")
    }
    return {"corpus_digest": digest, **rows}


def _describe_benchmark(benchmark: Mapping[str, Any] | None) -> str:
    if not benchmark:
        return (
            "None for this corpus yet: `rankadaptor benchmark --output FILE.json`, then "
            "`rankadaptor meta-train --benchmark FILE-summary.json` fills this part.\n"
        )
    lines = [
        "Each setting is predicted by a predictor trained on the others with at least twelve allocations; "
        "held-out settings by one trained on all of these, which is this one without the smaller settings. "
        "Kendall's τ within a setting between predicted and measured gains, its share of the noise ceiling, "
        "and the share of gains in the 90 % interval.\n",
        "| settings | | online records | τ | share of the ceiling | in the 90 % interval | regret of the "
        "first choice |\n|---|---|---|---|---|---|---|",
    ]
    for part, label in (("with_signal", "with signal"), ("without_signal", "without signal")):
        for row in benchmark[part]:
            share = "" if row["kendall_ratio"] is None else f"{row['kendall_ratio']:.2f}"
            which = "held out" if row["held_out"] else "left out in turn"
            lines.append(
                f"| {row['settings']} {label} | {which} | {row['records']} | {row['kendall']:.2f} | {share} "
                f"| {row['coverage90']:.2f} | {row['regret1']:.4f} |"
            )
    return "\n".join(lines) + "\n"
