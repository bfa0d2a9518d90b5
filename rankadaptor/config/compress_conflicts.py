"""Faults of a compression's run file that no single key shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rankadaptor.config.conflicts import Conflict
from rankadaptor.config.kit_names import describe_name, list_kit_models, list_kit_rows
from rankadaptor.config.limits import Share, read_parameters, read_share
from rankadaptor.methods import QLORA, THROUGH_ROUNDING, explain_no_ranks, explain_unmergeable, find_method

if TYPE_CHECKING:
    from rankadaptor.config.compress import CompressConfig, CompressRecoverSection
    from rankadaptor.config.elastic import ElasticConfig

PREFIX = "kit:"


def find_compress_conflicts(config: CompressConfig) -> Iterator[Conflict]:
    """Yield all conflicts of a compression that can be seen without its model or data."""
    limits = config.limits
    if not (limits.size or limits.latency or limits.parameters):
        yield Conflict(
            ("limits", "limits.size", "limits.latency", "limits.parameters"),
            "none is given. Give at least one of size (60MB), latency (0.7x) and parameters (80%).",
        )
    if limits.latency and not config.export.engine:
        yield Conflict(
            ("limits.latency", "export.engine"),
            f"a latency of {limits.latency} is measured on the engine, which export.engine: false turns off. "
            "Set export.engine: true, or give a size or parameters instead.",
        )
    if limits.latency and read_share(limits.latency, example="0.7x").value == 1:
        yield Conflict(
            ("limits.latency",),
            "1x is the dense model itself and limits nothing. Give less, or leave it out.",
        )
    if limits.parameters and read_parameters(limits.parameters) == Share(1.0):
        yield Conflict(("limits.parameters",), "100% is the dense model itself. Give less, or leave it out.")
    if config.search.screen_sequences > config.data.search_sequences:
        yield Conflict(
            ("search.screen_sequences", "data.search_sequences"),
            f"{config.search.screen_sequences} are more than the {config.data.search_sequences} sequences "
            "that the search scores on. Lower it to at most these.",
        )
    if not (config.choices.width or config.choices.attention or config.choices.depth) and (
        limits.parameters is not None
    ):
        yield Conflict(
            ("limits.parameters", "choices"),
            "types change no number of parameters, and width, attention and depth are all off. Turn one on, "
            "or limit the size instead.",
        )
    for name in sorted({*_double(config.choices.types), *_double(config.choices.embedding)}):
        yield Conflict(("choices.types", "choices.embedding"), f"names {name} twice. Name each type once.")
    if config.recover is not None:
        yield from _check_method(config.recover)
    yield from find_unknown_names(config)


def _check_method(recover: CompressRecoverSection) -> Iterator[Conflict]:
    method, key = find_method(recover.method), "recover.method"
    if not method.mergeable:
        yield Conflict((key,), f"given {method.name}, but {explain_unmergeable(method)}")
    if method.name == QLORA:
        yield Conflict(
            (key,),
            f"given {method.name}, which holds the frozen linears in NF4. A compression keeps them in full "
            "precision, rounds them once, to the types of the file, and would gain nothing. Take lora.",
        )
    if recover.quantisation_aware and method.name not in THROUGH_ROUNDING:
        yield Conflict(
            ("recover.quantisation_aware", key),
            f"given {str(recover.quantisation_aware).lower()} and {method.name}, but only "
            f"{' and '.join(THROUGH_ROUNDING)} can be trained through the "
            "rounding of types. Set recover.quantisation_aware: false, or take lora.",
        )
    steps = min(recover.steps, recover.finalist_steps)
    if steps < method.fewest_steps:
        yield Conflict(
            ("recover.finalist_steps", "recover.steps", key),
            f"given {steps}, but {method.title} needs at least {method.fewest_steps} steps. Give more, or "
            "take another method.",
        )
    if recover.ranks == "searched" and not method.ranks:
        yield Conflict(
            ("recover.ranks", key),
            f"given searched, but {explain_no_ranks(method)}. Set recover.ranks: uniform, or take lora.",
        )


def _double(names: tuple[str, ...]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def find_unknown_names(config: CompressConfig | ElasticConfig) -> Iterator[Conflict]:
    """Yield names of the kit that there are not."""
    models, rows = list_kit_models(), list_kit_rows()
    if config.model.startswith(PREFIX) and config.model not in models:
        text = describe_name(config.model, models, "a folder in Hugging Face form, or a hub id")
        yield Conflict(("model",), text)
    for key, source in config.data.list_sources():
        if source.startswith(PREFIX) and source not in rows:
            yield Conflict((key,), describe_name(source, rows, "hub:NAME, or a data file"))
