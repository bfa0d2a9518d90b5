"""The steps of a collection; each measures only what the records do not hold."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from experiments.slice_corpus.bands import Band, Optimum, write_bands
from experiments.slice_corpus.opened import BYTES, Opened
from experiments.slice_corpus.optimum import find_optimum
from rankadaptor.corpus import Corpus, Record
from rankadaptor.files import read_json, write_json
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.progress import Progress
from rankadaptor.search import Refinement, Search, estimate_slot_values, plan_sweep, solve_exact
from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

CHUNK = 32
BATCH = 8
KEPT = 96
"""Records near the optimum of a band that are kept from its search."""
STARTS = 64


def sweep(opened: Opened) -> list[Record]:
    """Score options of every slot, all other slots dense: every option, or as many as are asked for."""
    space, given = opened.space, opened.description
    if given.sweep is not None:
        return _measure(opened, plan_sweep(space, evaluations=given.sweep), name="sweep")
    planned = []
    for index in space.tables.searchable.tolist():
        for option in range(len(space.slots[index].options)):
            if option != space.origin[index]:
                choices = list(space.origin)
                choices[index] = option
                planned.append(Allocation(tuple(choices), space))
    return _measure(opened, planned, name="sweep")


def draw(opened: Opened, band: str) -> list[Record]:
    """Score random allocations of a band."""
    given = opened.description
    drawn = opened.limit(band).sample(given.random, seed=given.seed + 1)
    return _measure(opened, drawn, name=f"random, {band}")


def search(opened: Opened, band: str) -> list[Record]:
    """Refine the sweep's optimum by scores on all tokens, as `compress` does.

    What a finished search measured is written down, so that it is not thought out again.
    """
    given, space = opened.description, opened.limit(band)
    path = opened.scratch / f"{given.name}-{band}-{given.search}.json"
    if path.exists():
        done = [Allocation(tuple(choices), space) for choices in read_json(path)]
        return list(opened.score.measure(done))
    values = estimate_slot_values(space, sweep(opened))
    optimum = space.from_choices(solve_exact(space, values))
    searched = Search(
        space,
        SweepPredictor(values, seed=given.seed),
        seed=given.seed,
        refinement=Refinement(starts=(optimum,)),
    )
    with Progress(f"search, {band}", given.search) as progress:

        def measure(batch: Sequence[Allocation]) -> list[Record]:
            progress.advance(len(batch))
            return list(opened.score.measure(batch))

        searched.run_batches(measure, evaluations=given.search, batch=BATCH)
    write_json(path, [list(space.find_choices(record.values)) for record in searched.records])
    return list(searched.records)


def optimise(opened: Opened, band: str) -> tuple[Optimum, list[Record]]:
    """Search a band for its optimum without sparing evaluations; return it and the best records.

    With no evaluations, it is the best of what was measured before.
    """
    given, space = opened.description, opened.limit(band)
    before = [record for record in (*draw(opened, band), *search(opened, band)) if record.kl is not None]
    start = [space.find_choices(each.values) for each in sorted(before, key=lambda each: each.kl or 0.0)]
    few, whole = given.reference[band]
    tokens = 0
    if not whole:
        ranked = sorted(before, key=lambda each: each.kl or 0.0)[:KEPT]
        return Optimum(start[0], ranked[0].kl or 0.0, (0, 0), tokens), ranked
    with Progress(f"optimum, {band}", few + whole) as progress:

        def measure(batch: Sequence[Allocation], size: int | None) -> list[Record]:
            nonlocal tokens
            found = list(opened.score.measure(batch, tokens=size))
            tokens += sum(record.tokens for record in found)
            best = min((record.kl for record in found if record.kl is not None), default=0.0)
            progress.advance(len(batch), note=f"KL {best:.4f} at best of these")
            return found

        best, kl, order = find_optimum(
            space,
            start=start[:STARTS],
            few=lambda batch: measure(batch, given.few),
            whole=lambda batch: measure(batch, None),
            evaluations=(few, whole),
            seed=given.seed,
        )
    logger.info(
        "%s, %s: KL %.4f; refined search %.4f", given.name, band, kl, min(r.kl for r in before if r.kl)
    )
    front = opened.score.measure([Allocation(choices, space) for choices in order[:KEPT]])
    return Optimum(best, kl, (few, whole), tokens), list(front)


def keep(opened: Opened, folder: Path) -> None:
    """Write what was measured into a corpus: setting, records on all tokens, and bands."""
    name = opened.description.name
    corpus = Corpus.create(folder)
    corpus.add_setting(opened.describe())
    for record in sweep(opened):
        _append(corpus, record)
    bands = {}
    for band in opened.description.bands:
        optimum, front = optimise(opened, band)
        places: dict[tuple[object, ...], int] = {}
        groups = (draw(opened, band), search(opened, band), front)
        for record in (record for group in groups for record in group):
            _append(corpus, record)
        places = {record.measured: place for place, record in enumerate(corpus.records(name))}
        random, searched, best = (
            tuple(places[record.measured] for record in group if record.status == "ok") for group in groups
        )
        bound = opened.limit(band).bounds[0]
        bands[band] = Band(BYTES, bound, random=random, search=searched, front=best, optimum=optimum)
    write_bands(folder, name, bands)


def _append(corpus: Corpus, record: Record) -> None:
    corpus.append(dataclasses.replace(record, sequence_losses=None))


def _measure(opened: Opened, allocations: Sequence[Allocation], *, name: str) -> list[Record]:
    ordered = sorted(allocations, key=lambda each: each.choices)
    found: dict[tuple[int, ...], Record] = {}
    with Progress(name, len(ordered)) as progress:
        for start in range(0, len(ordered), CHUNK):
            part = ordered[start : start + CHUNK]
            for allocation, record in zip(part, opened.score.measure(part), strict=True):
                found[allocation.choices] = record
            progress.advance(len(part))
    return [found[allocation.choices] for allocation in allocations]


def limit_space(space: Space, band: Band) -> Space:
    """Return the space of a band."""
    from rankadaptor.space import Limit

    return dataclasses.replace(space, limits=(Limit(band.resource, band.bound),))
