"""Benchmarks on the models of a finished run, or on any other model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest, write_json

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig

logger = logging.getLogger(__name__)


def score_models(
    config: RunConfig, *, model: str | None = None, adapter: Path | None = None
) -> dict[str, Any]:
    """Score models on the run's benchmarks and write the scores into its output folder.

    Args:
        config: The run; its evaluate section names benchmarks and models.
        model: One model to score instead of the run's own.
        adapter: Adapter to put on `model`, or on the run's pruned model.

    Raises:
        InputError: If the run has not produced a model that is asked for.
    """
    chosen = _choose_models(config, model=model, adapter=adapter)
    from rankadaptor.components.adapter.lora import load_adapter
    from rankadaptor.evaluation import evaluate
    from rankadaptor.evaluation.definitions import check_benchmarks
    from rankadaptor.named_models import load
    from rankadaptor.pipeline.preparation import pick_compute

    given, compute = config.evaluate, pick_compute(config)
    check_benchmarks(given.benchmarks)  # before a model is read
    compute.apply()
    summaries = {}
    for name, (source, weights) in chosen.items():
        logger.info("evaluate %s", name)
        loaded, tokenizer = load(source, compute=compute)
        if weights is not None:
            loaded = load_adapter(loaded, weights)
        scores = evaluate(
            loaded, tokenizer, benchmarks=list(given.benchmarks), limit=given.limit, compute=compute
        )
        summaries[name] = scores.summary()
    document = {"limit": given.limit, "models": summaries}
    label = compute_digest(
        {"evaluate": given.model_dump(mode="json"), "model": model, "adapter": str(adapter)}
    )
    path = Path(config.output) / f"evaluation-{label}.json"
    write_json(path, document)
    logger.info("wrote %s", path)
    return document


def _choose_models(
    config: RunConfig, *, model: str | None, adapter: Path | None
) -> dict[str, tuple[str, Path | None]]:
    """Return name → (model, adapter or None)."""
    pruned = Path(config.output) / "pruned"
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise InputError(f"--adapter {adapter}: no adapter_config.json there. Give a folder that PEFT saved.")
    if model is not None or adapter is not None:
        name = adapter.name if adapter is not None else Path(str(model)).name
        return {name: (model or str(pruned), adapter)}
    from rankadaptor.pipeline.finals import find_adapter
    from rankadaptor.pipeline.run_folder import RunFolder

    run_folder = RunFolder(path=Path(config.output), digest=config.digest())
    chosen: dict[str, tuple[str, Path | None]] = {}
    for name in config.evaluate.models:
        if name == "dense":
            chosen[name] = (config.model, None)
            continue
        weights = None if name == "pruned" else find_adapter(run_folder, name)
        wanted = weights or pruned
        if not wanted.is_dir():
            raise InputError(
                f"{wanted}: not there, so {name} cannot be scored. Finish `rankadaptor run` first, or "
                f"leave {name} out "
                "of evaluate.models."
            )
        chosen[name] = (str(pruned), weights)
    return chosen
