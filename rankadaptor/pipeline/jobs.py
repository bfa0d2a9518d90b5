"""Running a job of any kind; what a kind needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankadaptor.config import CompressConfig, ElasticConfig, RunConfig


def run_job(
    config: RunConfig | CompressConfig | ElasticConfig, *, output: Path | None = None, fresh: bool = False
) -> dict[str, Any]:
    """Run, or continue, the whole job that a run file describes.

    Args:
        config: The run.
        output: Folder to write to, `config.output` by default.
        fresh: Delete the files of an earlier run in the folder.

    Returns:
        The result, as written to `result.json` in the folder.

    Raises:
        InputError: If the run does not fit the model or the folder holds another run.
        BudgetError: If nothing keeps the limits.
        StorageError: If something could not be written; what was measured before is kept.
    """
    if isinstance(config, CompressConfig):
        from rankadaptor.pipeline.compression import run_compression

        return run_compression(config, output=output, fresh=fresh)
    if isinstance(config, ElasticConfig):
        from rankadaptor.pipeline.elastic import run_elastic

        return run_elastic(config, output=output, fresh=fresh)
    from rankadaptor.pipeline.experiment import run_experiment

    return run_experiment(config, output=output, fresh=fresh)
