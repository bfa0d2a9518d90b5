"""Run the searches of a band, each once, and write down what they measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.performance_model.cases import Case
from experiments.performance_model.contestants import train
from experiments.search_curves.methods import METHODS, TRAINED, Task
from experiments.search_curves.traces import REFERENCE, Trace, read_setting, write_traces
from experiments.slice_corpus.opened import Opened
from experiments.slice_corpus.optimum import find_optimum
from rankadaptor.corpus import Record
from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

STARTS = 64


def measure_setting(
    opened: Opened, cases: Sequence[Case], *, bands: Sequence[str], seeds: Iterable[int], folder: Path
) -> None:
    """Run every search of a setting that is not there yet; the predictor has not seen its family."""
    name = opened.description.name
    (case,) = (each for each in cases if each.name == name)
    trained = train([each for each in cases if each.family != case.family])
    traces = read_setting(folder, name)
    for seed in seeds:
        for band in bands:
            space = opened.limit(band)
            for method, (run, evaluations) in METHODS.items():
                if (band, method, seed) in {trace.key for trace in traces}:
                    continue
                seen: list[Record] = []

                def measure(batch: Sequence[Allocation], seen: list[Record] = seen) -> list[Record]:
                    found = list(opened.score.measure(batch))
                    seen += found
                    return found

                started = time.monotonic()
                run(Task(space, case.features, trained, measure), evaluations, seed)
                prepared = case.features.tokens if method == TRAINED else 0
                trace = _describe(
                    opened, band, method, seed=seed, prepared=prepared, records=seen[:evaluations]
                )
                traces.append(trace)
                write_traces(folder, name, traces)
                logger.info(
                    "%s, %s, %s: KL %s after %d, %.0f s", name, band, method, trace.find_best(evaluations),
                    len(seen), time.monotonic() - started,
                )  # fmt: skip


def search_reference(
    opened: Opened, case: Case, *, band: str, evaluations: tuple[int, int], folder: Path
) -> None:
    """Search for the optimum from the best of all searches on, with many evaluations."""
    name, space = opened.description.name, opened.limit(band)
    traces = [trace for trace in read_setting(folder, name) if trace.key != (band, REFERENCE, 0)]
    ranked = sorted(
        (kl, trace.best) for trace in traces if trace.band == band and (kl := trace.find_best(len(trace.kl)))
    )
    known = case.bands[band]
    start = [best for _, best in ranked] + [known.optimum.choices]
    start += [space.find_choices(record.values) for record in case.pick(known.front)]
    seen: list[Record] = []

    def measure(batch: Sequence[Allocation], tokens: int | None) -> list[Record]:
        found = list(opened.score.measure(batch, tokens=tokens))
        seen.extend(found)
        return found

    find_optimum(
        space,
        start=start[:STARTS],
        few=lambda batch: measure(batch, opened.description.few),
        whole=lambda batch: measure(batch, None),
        evaluations=evaluations,
        seed=opened.description.seed + 1,
    )
    trace = _describe(opened, band, REFERENCE, seed=0, prepared=0, records=seen)
    write_traces(folder, name, [*traces, trace])
    logger.info("%s, %s: KL %s of the reference search", name, band, trace.find_best(len(trace.kl)))


def _describe(
    opened: Opened, band: str, method: str, *, seed: int, prepared: int, records: Sequence[Record]
) -> Trace:
    space = opened.limit(band)
    legal = [
        record.status == "ok" and record.fidelity >= 1.0 and space.contains(record.values)
        for record in records
    ]
    sound = [record for record, fits in zip(records, legal, strict=True) if fits and record.kl is not None]
    return Trace(
        setting=opened.description.name,
        band=band,
        method=method,
        seed=seed,
        prepared=prepared,
        kl=tuple(
            round(record.kl, 6) if fits and record.kl is not None else None
            for record, fits in zip(records, legal, strict=True)
        ),
        tokens=tuple(record.tokens for record in records),
        best=space.find_choices(min(sound, key=lambda record: record.kl or 0.0).values),
    )
