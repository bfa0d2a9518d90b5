"""Take the scores of `compress` runs that share a space into the corpus, with slot features of that space.

python -m experiments.slice_corpus.adopted --name smollm2-frontier --family smollm2 FILE.yaml ...

Each run file is one band: the scores that keep its limit and are no single change, in the order measured.
The setting's space has the options that were scored. Nothing is measured but the features.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.program import run_program
from experiments.slice_corpus.__main__ import INTO
from experiments.slice_corpus.bands import Band, Optimum, write_bands
from experiments.slice_corpus.features import TOKENS, locate_features
from experiments.slice_corpus.opened import BYTES
from rankadaptor.config import CompressConfig, load_job
from rankadaptor.corpus import Corpus, Record, RecordFile, Setting
from rankadaptor.errors import InputError
from rankadaptor.pipeline.compression.setting import Setting as Run

if TYPE_CHECKING:
    from rankadaptor.components.composition import LiveModel
    from rankadaptor.space import Space

NEAR = 0.95
"""Share of the limit below which a score does not belong to its band."""
FEW = 8
"""Fewest scores of a band."""


def main() -> None:
    """Read, compute the features, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="run files of compress")
    parser.add_argument("--name", required=True, help="name of the setting")
    parser.add_argument("--family", required=True, help="settings of one family share a model")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"of the features; {TOKENS} by default")
    parser.add_argument("--into", type=Path, default=INTO, help=f"corpora; {INTO} by default")
    given = parser.parse_args()
    count = adopt(given.files, given.into / given.family, name=given.name, tokens=given.tokens)
    sys.stdout.write(f"{given.name}: {count} scores\n")


def adopt(files: Sequence[Path], folder: Path, *, name: str, tokens: int) -> int:
    """Write a setting with its records, bands and features; return the number of records.

    Raises:
        InputError: If a file is no run of `compress` with a limit on the size, or there are no scores.
    """
    from rankadaptor.measure.slot_sensitivity import compute_slot_features

    runs = [_open(file) for file in files]
    first = runs[0]
    whole = dataclasses.replace(first.space, limits=())
    config, live = first.config, _make_live(first)
    records = _read_records(first, whole)
    space = keep_options(whole, [whole.find_choices(record.values) for record in records])
    corpus = Corpus.create(folder)
    corpus.add_setting(
        Setting(
            name=name,
            model={"name": config.model, "family": folder.name, "type": first.model.config.model_type},
            pruning={"importance": live.importance, "order": live.order_digest},
            data={
                "text": list(config.data.text), "length": config.data.length, "dtype": first.compute.dtype,
            },
            recipe={},
            space=space.to_json(),
            held_out=True,
            command="python -m experiments.slice_corpus.adopted " + " ".join(map(str, files)),
        )
    )  # fmt: skip
    for record in records:
        corpus.append(dataclasses.replace(record, setting=name, sequence_losses=None))
    bands = {}
    for file, run in zip(files, runs, strict=True):
        if (band := _find_band(run, space, records)) is not None:
            bands[file.stem] = band
    write_bands(folder, name, bands)
    path = locate_features(folder, name)
    if not path.exists():
        windows = max(tokens // config.data.length, 1)
        compute_slot_features(live, space, first.make_calibration()[:windows], seed=config.seed).save(path)
    return len(records)


def keep_options(space: Space, choices: Sequence[Sequence[int]]) -> Space:
    """Return a space of the options that allocations take, and those of its references."""
    taken = np.array([*choices, *(row for _, row in space.references)])
    kept = [sorted(set(taken[:, index].tolist())) for index in range(space.n_slots)]
    slots = tuple(
        dataclasses.replace(
            slot,
            options=tuple(slot.options[option] for option in own),
            costs=tuple((name, tuple(costs[option] for option in own)) for name, costs in slot.costs),
            coordinates=tuple(slot.coordinates[option] for option in own),
            pinned=None if slot.pinned is None else own.index(slot.pinned),
        )
        for slot, own in zip(space.slots, kept, strict=True)
    )
    references = tuple(
        (name, tuple(own.index(option) for option, own in zip(row, kept, strict=True)))
        for name, row in space.references
    )
    return dataclasses.replace(space, slots=slots, references=references)


def _open(file: Path) -> Run:
    from rankadaptor.pipeline.run_folder import RunFolder

    config = load_job(file)
    if not isinstance(config, CompressConfig) or config.search.records is None or config.limits.size is None:
        raise InputError(
            f"{file}: not a run file of compress with limits.size and search.records. Give one that has both."
        )
    return Run.of_run(RunFolder(Path(config.output), config.digest(), config=config), config)


def _make_live(run: Run) -> LiveModel:
    from rankadaptor.components.composition import LiveModel
    from rankadaptor.pipeline.compression.shared_importance import find_importance

    return LiveModel(run.model, scores=find_importance(run), importance=run.config.choices.importance)


def _read_records(run: Run, space: Space) -> list[Record]:
    """Return the scores on all tokens whose options this space has."""
    assert run.config.search.records is not None
    every = RecordFile(run.config.search.records).records
    labels = [set(slot.options) for slot in space.slots]
    found = [
        record
        for record in every
        if record.status == "ok" and record.fidelity >= 1.0 and len(record.values) == len(labels)
        and all(value in own for value, own in zip(record.values, labels, strict=True))
    ]  # fmt: skip
    if len({record.setting for record in found}) != 1:
        raise InputError(
            f"{run.config.search.records}: no scores of one setting in this space. Run it first."
        )
    return found


def _find_band(run: Run, space: Space, records: Sequence[Record]) -> Band | None:
    bound = run.space.bounds[0]
    choices = np.array([space.find_choices(record.values) for record in records])
    changed = (choices != np.asarray(space.origin)).sum(axis=1)
    places = tuple(
        place
        for place, record in enumerate(records)
        if changed[place] > 1 and NEAR * bound < record.costs[BYTES] <= bound
    )
    if len(places) < FEW:
        return None
    ranked = sorted(places, key=lambda place: records[place].kl or 0.0)
    best = records[ranked[0]]
    tokens = sum(records[place].tokens for place in places)
    optimum = Optimum(space.find_choices(best.values), best.kl or 0.0, (0, len(places)), tokens)
    return Band(BYTES, bound, random=(), search=places, front=tuple(ranked), optimum=optimum)


if __name__ == "__main__":
    run_program(main)
