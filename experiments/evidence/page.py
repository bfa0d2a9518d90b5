"""Write the evidence page: figures and tables from the corpus, between markers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.evidence import Evidence, gather_evidence
from experiments.evidence.sentences import describe_chance, describe_claims, summarise_findings
from experiments.evidence.study_tables import (
    build_accuracy_table,
    build_benchmark_table,
    build_curve_table,
    build_exponent_table,
    build_fidelity_table,
    build_own_rate_table,
    build_rate_table,
)
from experiments.evidence.tables import (
    build_effect_table,
    build_factor_table,
    build_published_table,
    build_regime_table,
    build_seed_table,
    build_setting_table,
    build_trait_table,
    build_winner_table,
)
from rankadaptor.errors import InputError
from rankadaptor.files import write_bytes, write_text
from rankadaptor.report.markers import update_markers
from rankadaptor.results import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rankadaptor.corpus import Corpus

logger = logging.getLogger(__name__)

DOCUMENT = Path("docs/evidence.md")
TEMPLATE = "evidence.md.j2"
FIGURES = "figures"

TABLES: dict[str, Callable[[Evidence], Table]] = {
    "settings": build_setting_table,
    "regimes": build_regime_table,
    "traits": build_trait_table,
    "effects": build_effect_table,
    "winners": build_winner_table,
    "seeds": build_seed_table,
    "factors": build_factor_table,
    "fidelity": build_fidelity_table,
    "rates": build_rate_table,
    "own-rates": build_own_rate_table,
    "exponents": build_exponent_table,
    "curves": build_curve_table,
    "benchmarks": build_benchmark_table,
    "accuracies": build_accuracy_table,
    "published": build_published_table,
}
MISSING = {
    "traits": "Not to be told: the settings do not differ in any trait, or there is only one.",
    "fidelity": "Not measured yet: no setting has the same allocations at two lengths.",
    "own-rates": "Not measured yet: no setting has allocations at several learning rates.",
    "exponents": "Not measured yet: no setting has allocations under several scaling exponents.",
    "benchmarks": "Not measured yet: no setting has models scored on benchmarks.",
    "accuracies": "Not measured yet: no setting has models scored on benchmarks.",
}


def write_evidence(corpus: Corpus, *, file: str | Path = DOCUMENT) -> list[str]:
    """Write the generated parts of the evidence page from a corpus, and draw its figures.

    Args:
        corpus: The corpus.
        file: The document; created from the template if missing. Figures go to `figures/` beside it.

    Returns:
        The names of the parts that changed.

    Raises:
        CorpusError: If a study or a file of sequence losses is not sound.
        InputError: If a marker of the document is not closed.
        StorageError: If something cannot be written.
    """
    target = Path(file)
    evidence = gather_evidence(corpus)
    blocks = render_evidence(evidence)
    blocks |= {f"figure-{name}": text for name, text in _draw_figures(evidence, target.parent).items()}
    if not target.exists():
        source = resources.files("experiments.evidence").joinpath(TEMPLATE).read_text(encoding="utf-8")
        write_text(target, source)
    return update_markers(target, blocks)


def render_evidence(evidence: Evidence) -> dict[str, str]:
    """Render all tables and generated sentences as Markdown, by name of their marker."""
    blocks = {}
    for name, build in TABLES.items():
        table = build(evidence)
        blocks[name] = table.to_markdown() if table.rows else MISSING.get(name, "Not measured yet.") + "\n"
    return blocks | {
        "summary": summarise_findings(evidence),
        "chance": describe_chance(evidence),
        "claims": describe_claims(),
        "source": f"Made from {sum(entry.records for entry in evidence.settings):,} records in "
        f"{len(evidence.settings)} settings; digest `{evidence.digest}`.\n",
    }


def _draw_figures(evidence: Evidence, folder: Path) -> dict[str, str]:
    from experiments.evidence.figures import (
        plot_effects,
        plot_factors,
        plot_fidelity,
        plot_regimes,
        plot_seeds,
    )
    from experiments.evidence.study_figures import (
        plot_benchmarks,
        plot_exponents,
        plot_rates,
        plot_recovery,
    )
    from rankadaptor.plots import to_png

    drawings: dict[str, tuple[Callable[[Evidence], Figure], str]] = {
        "regimes": (plot_regimes, "Gain of the best allocation with its interval, by setting"),
        "effects": (plot_effects, "Gains of all allocations by setting, beside the noise"),
        "seeds": (plot_seeds, "Gains under one seed against gains under the others"),
        "factors": (plot_factors, "What explains the variance in gains, by setting"),
        "fidelity": (plot_fidelity, "Rank correlation with the longest fine-tune over its length"),
        "rates": (plot_rates, "Loss of uniform over learning rates, by setting"),
        "exponents": (plot_exponents, "Gains under the scaling exponents, by setting"),
        "curves": (plot_recovery, "What uniform recovers over the tokens trained on"),
        "benchmarks": (plot_benchmarks, "Mean accuracy against held-out loss, by setting"),
    }
    blocks = {}
    for name, (draw, caption) in drawings.items():
        path = folder / FIGURES / f"evidence-{name}.png"
        try:
            write_bytes(path, to_png(draw(evidence), dots_per_inch=120))
            blocks[name] = f"![{caption}]({path.relative_to(folder).as_posix()})\n"
        except InputError as error:
            path.unlink(missing_ok=True)
            blocks[name] = f"{error}\n"
    logger.info(
        "evidence: %d figures beside %s", sum("![" in text for text in blocks.values()), os.fspath(folder)
    )
    return blocks
