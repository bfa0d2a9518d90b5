"""README's part on the quickstart: what its file is, what it writes, and what it is compared with."""

from __future__ import annotations

from rankadaptor.results import Document
from rankadaptor.results.compression import TEXTS, explain_compression, find_sample
from rankadaptor.results.table import write_loss


def write_quickstart(document: Document, *, figure: str) -> str:
    """Return the part as Markdown.

    Args:
        document: The result of the quickstart's compression.
        figure: Path of the figure of widths and types, from the README.
    """
    result, run = document["result"], document["run"]
    _, headline, _ = explain_compression(document)
    points = result["points"]
    parts = list(points[0]["losses"])
    lines = [
        f"| file | MB | {' | '.join(f'loss, {TEXTS[part]}' for part in parts)} |",
        "|---|---:" + "|---:" * len(parts) + "|",
        *(
            f"| {point['name']} | {point['bytes'] / 1e6:.1f} | "
            f"{' | '.join(write_loss(point['losses'][part]) for part in parts)} |"
            for point in points
        ),
    ]
    texts = [
        f"It ended with **{headline}** Losses in nats per token:",
        "\n".join(lines),
    ]
    sample = find_sample(document)
    if sample is not None:
        written = " ".join(sample["continuation"].split())
        texts.append(f"What its file writes in llama.cpp, after *{sample['prompt']}*: “{written}”")
    if (ranked := result.get("ranks")) is not None:
        texts.append(f"Its rank search: {ranked['verdict']['sentence']}")
    texts += [
        f"![Share kept of every layer, by type]({figure})",
        "*What was kept of every attention and MLP, coloured by its type. "
        f"Run `{run['digest']}`, commit `{run['commit']}`.*",
    ]
    return "\n\n".join(texts)


def write_default_job(document: Document) -> str:
    """Return a sentence on the time of the default job, as Markdown.

    Args:
        document: The result of a compression with nothing given but model and size.
    """
    result, run, environment = document["result"], document["run"], document["environment"]
    config, searched = run["config"], result["search"]["evaluations"]
    rules = [f"`{name}`" for name in config["references"] if not name.startswith("stock")]
    return (
        f"The default run of `{config['model']}` with a limit of {config['limits']['size']} took "
        f"{run['seconds'] / 60:.0f} minutes on {environment['cores']} cores, with products in "
        f"{result['compute']['dtype']}. It scored {sum(searched.values())} configurations and recovered the "
        f"result and {', '.join(rules)}. `--plan` says what it takes on another machine."
    )
