"""Which records of a setting belong to which band and how they were chosen; a file beside the records."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankadaptor.corpus import Corpus, Record
from rankadaptor.errors import CorpusError
from rankadaptor.files import read_json, write_json

SCHEMA = 1
FOLDER = "bands"


@dataclass(frozen=True)
class Optimum:
    """The best allocation that is known of a band, and what finding it took.

    Attributes:
        choices: The allocation.
        kl: Its divergence on all tokens, nats per token.
        evaluations: Allocations scored in its search, on few tokens and on all.
        tokens: Tokens that these scores computed, each counted with its share of a dense pass.
    """

    choices: tuple[int, ...]
    kl: float
    evaluations: tuple[int, int]
    tokens: int


@dataclass(frozen=True)
class Band:
    """A limit on a resource and what was measured under it; records by their place in the file.

    Attributes:
        resource: Name of the resource.
        bound: Largest total allowed.
        random: Drawn at random.
        search: Proposed by the refined search from the sweep's optimum on, in its order.
        front: Near the optimum, the best first, from its search.
        optimum: The best allocation known.
    """

    resource: str
    bound: int
    random: tuple[int, ...]
    search: tuple[int, ...]
    front: tuple[int, ...]
    optimum: Optimum


def write_bands(folder: Path, setting: str, bands: dict[str, Band]) -> None:
    """Write the bands of a setting."""
    content = {"schema": SCHEMA, "bands": {name: asdict(band) for name, band in bands.items()}}
    write_json(folder / FOLDER / f"{setting}.json", content)


def read_bands(folder: Path, setting: str) -> dict[str, Band]:
    """Read the bands of a setting.

    Raises:
        CorpusError: If there is no such file, or it is of another schema.
    """
    path = folder / FOLDER / f"{setting}.json"
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise CorpusError(
            f"{path}: not the bands of a setting. `python -m experiments.slice_corpus` writes it."
        )
    return {name: _read_band(band) for name, band in data["bands"].items()}


def _read_band(data: dict[str, Any]) -> Band:
    optimum = data["optimum"]
    few, whole = optimum["evaluations"]
    return Band(
        resource=data["resource"],
        bound=data["bound"],
        **{name: tuple(data[name]) for name in ("random", "search", "front")},
        optimum=Optimum(tuple(optimum["choices"]), optimum["kl"], (few, whole), optimum["tokens"]),
    )


def find_parts(root: Path) -> dict[str, Path]:
    """Return the folder of every setting below a folder of corpora."""
    return {path.stem: path.parent.parent for path in sorted(root.glob(f"*/{FOLDER}/*.json"))}


def pick_records(corpus: Corpus, setting: str, places: tuple[int, ...]) -> list[Record]:
    """Return records by their places in the setting's file."""
    records = corpus.records(setting)
    return [records[place] for place in places]
