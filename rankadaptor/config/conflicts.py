"""Faults that no single key shows: values that do not go together, names that do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankadaptor.config.kit_names import find_unknown_names
from rankadaptor.config.stages import TRAINED
from rankadaptor.methods import QLORA, explain_no_ranks, find_method, list_ranked
from rankadaptor.recipe import RSLORA

if TYPE_CHECKING:
    from rankadaptor.config.run import RunConfig
    from rankadaptor.config.sections import PruneSection, RecipeSection, SpaceSection

READ_BY = {
    "rungs": "successive_halving",
    "keep": "successive_halving",
    "steps": "elastic",
    "sandwich": "elastic",
    "warm_start": "elastic",
}
"""Keys of `measure` that one kind alone reads."""


@dataclass(frozen=True)
class Conflict:
    """Keys that do not go together.

    Attributes:
        keys: Dotted keys, the one to change first.
        text: What is wrong and what to do.
    """

    keys: tuple[str, ...]
    text: str


def find_conflicts(config: RunConfig) -> list[Conflict]:
    """List all conflicts of a run that can be seen without its model or data."""
    unknown = [Conflict((key,), text) for key, text in find_unknown_names(config)]
    pruning = () if config.prune is None else _check_prune(config.prune)
    checks = (
        _check_space(config.space),
        _check_recipe(config.recipe),
        _check_gradients(config),
        _check_method(config),
        _check_teacher(config),
        _check_stages(config),
    )
    return [*unknown, *pruning, *(conflict for check in checks for conflict in check)]


def _check_prune(prune: PruneSection) -> Iterator[Conflict]:
    targets = list(prune.targets)
    if "blocks" in targets and set(targets) != {"blocks"}:
        yield Conflict(
            ("prune.targets",),
            f"given {targets}; whole blocks cannot be combined with parts of blocks. Write "
            "[blocks], run that, and prune the saved model again.",
        )
    if prune.importance == "block_influence" and "blocks" not in targets:
        yield Conflict(
            ("prune.importance", "prune.targets"),
            f"given block_influence, which scores whole blocks, with prune.targets {targets}. Set "
            f"prune.targets: [blocks], or another importance.",
        )


def _check_space(space: SpaceSection) -> Iterator[Conflict]:
    yield from _check_ranks(space)
    budgets = {
        "like_uniform": space.like_uniform,
        "parameters": space.parameters,
        "megabytes": space.megabytes,
    }
    given = [f"space.{key}" for key, value in budgets.items() if value is not None]
    if len(given) != 1:
        named = " and ".join(given) if given else "no budget"
        yield Conflict(
            (*given, *(f"space.{key}" for key in budgets)),
            f"given {named}; exactly one of like_uniform, parameters, megabytes is allowed. Set the "
            f"others to null.",
        )
    if space.mode == "rank_sum" and space.like_uniform is None:
        yield Conflict(
            ("space.mode", *given),
            "rank_sum counts ranks, so its budget must be like_uniform. Give like_uniform, or mode: "
            "parameters.",
        )
    first, last = space.blocks if space.blocks is not None else (0, None)
    if space.blocks is not None and not 0 <= space.blocks[0] <= space.blocks[1]:
        yield Conflict(
            ("space.blocks",),
            f"given {list(space.blocks)}; must be [first, last] with 0 <= first <= last, counted from 0.",
        )
        return
    for block, rank in (space.pinned or {}).items():
        if rank < 0 or block < 0:
            yield Conflict(("space.pinned",), f"given {block}: {rank}; blocks and ranks are 0 or more.")
        elif block < first or (last is not None and block > last):
            yield Conflict(
                ("space.pinned", "space.blocks"),
                f"block {block} lies outside space.blocks [{first}, {last}]. Remove it, or widen "
                f"space.blocks.",
            )


def _check_ranks(space: SpaceSection) -> Iterator[Conflict]:
    if space.ranks is None:
        return
    ranks = list(space.ranks)
    if min(ranks) < 0:
        text = f"given {ranks}; a rank is 0 or more. Remove the negative ones."
    elif ranks != sorted(set(ranks)):
        text = f"given {ranks}; must ascend without repeats. Write {sorted(set(ranks))}."
    elif max(ranks) == 0:
        text = f"given {ranks}; at least one rank must be above 0. Add 8, for example."
    elif space.like_uniform is not None and space.like_uniform not in ranks:
        text = (
            f"given {ranks} without {space.like_uniform}, the rank of uniform (space.like_uniform). Add it."
        )
    else:
        return
    yield Conflict(("space.ranks", "space.like_uniform"), text)


def _check_recipe(recipe: RecipeSection) -> Iterator[Conflict]:
    if recipe.batch_size % recipe.micro_batch_size:
        yield Conflict(
            ("recipe.micro_batch_size", "recipe.batch_size"),
            f"given {recipe.micro_batch_size}, which does not divide recipe.batch_size {recipe.batch_size}. "
            f"Allowed are {[n for n in range(1, recipe.batch_size + 1) if recipe.batch_size % n == 0]}.",
        )
    if recipe.tune is None:
        return
    if any(rate <= 0 for rate in recipe.tune.learning_rates):
        yield Conflict(
            ("recipe.tune.learning_rates",),
            f"given {list(recipe.tune.learning_rates)}; each must be above 0.",
        )
    if any(not 0 <= exponent <= 1 for exponent in recipe.tune.scaling_exponents or ()):
        yield Conflict(
            ("recipe.tune.scaling_exponents",),
            f"given {list(recipe.tune.scaling_exponents or ())}; each must be between 0 and 1, for "
            f"example [0, 0.5, 1].",
        )


def _check_method(config: RunConfig) -> Iterator[Conflict]:
    method, key = find_method(config.recover.method), "recover.method"
    if not method.ranks:
        yield Conflict(
            (key,),
            f"given {method.name}; this run searches the rank of each linear, but "
            f"{explain_no_ranks(method)}. Take one of {list_ranked()}, or recover with "
            f"{method.name} in Python: rankadaptor.recover(..., method={method.name!r}).",
        )
    if method.name == QLORA and config.compute.quantise == "int8":
        yield Conflict(
            (key, "compute.quantise"),
            "given qlora, which holds the frozen linears in 4 bits, with compute.quantise: int8. Set one of "
            "them: compute.quantise: null, or recover.method: lora.",
        )
    if method.name == "dora" and config.measure.kind == "elastic":
        yield Conflict(
            ("measure.kind", key),
            "given elastic, which trains LoRA factors of all ranks together; DoRA's lengths belong to one "
            "rank. Take fine_tune, or recover.method: lora.",
        )
    exponents = (config.recipe.tune.scaling_exponents if config.recipe.tune is not None else None) or ()
    if method.name == RSLORA and (config.recipe.scaling_exponent != 1.0 or exponents):
        yield Conflict(
            ("recipe.scaling_exponent", "recipe.tune.scaling_exponents", key),
            "given with recover.method: rslora, which fixes how the scale falls with the rank. Leave the "
            "exponent at 1 and try no others, or take recover.method: lora.",
        )


def _check_gradients(config: RunConfig) -> Iterator[Conflict]:
    tried = config.recipe.tune.initialisations if config.recipe.tune is not None else None
    wanted = "gradient" in (config.recipe.initialisation, *(tried or ()))
    if config.quantise is not None and wanted:
        yield Conflict(
            ("recipe.initialisation", "compute.quantise"),
            "gradient reads the gradients of the frozen linears, and quantised ones have none. Set "
            "compute.quantise: null, or initialise at random.",
        )


def _check_teacher(config: RunConfig) -> Iterator[Conflict]:
    recipe, choose = config.recipe, config.recover.choose
    if recipe.needs_teacher:
        key = "recipe.hidden_weight" if recipe.loss == "plain" else "recipe.loss"
        given: object = recipe.hidden_weight if recipe.loss == "plain" else recipe.loss
    elif choose is not None and choose.follows_teacher:
        key, given = "recover.choose.losses", list(choose.losses or ())
    else:
        return
    if config.prune is None:
        yield Conflict(
            (key, "prune"),
            f"given {given}, which follows the model before pruning, but prune is null. Let the run prune, "
            "set the loss to plain and recipe.hidden_weight: 0, or use rankadaptor.recover(..., "
            "teacher=MODEL) in Python.",
        )
    if config.compute.executor == "ray":
        yield Conflict(
            (key, "compute.executor"),
            f"given {given}, which needs the model before pruning beside each trial; workers of a cluster "
            "are sent the pruned one alone. Set compute.executor: local, or the loss to plain "
            "and recipe.hidden_weight: 0.",
        )


def _check_stages(config: RunConfig) -> Iterator[Conflict]:
    data, search, recover = config.data, config.search, config.recover
    if data.held_out is not None and data.held_out == data.train:
        yield Conflict(
            ("data.held_out", "data.train"),
            f"given {data.held_out!r}, the training source itself. Set it to null to split held-out rows "
            f"off.",
        )
    yield from _check_measure(config)
    full = recover.steps
    for key, steps in (("search.steps", search.steps), ("confirm.steps", config.confirm.steps)):
        if steps is not None and steps > full:
            yield Conflict(
                (key, "recover.steps"),
                f"given {steps}, more than the {full} steps of a full fine-tune. Lower it, or raise "
                f"recover.steps.",
            )
    if search.predictor_path is not None and search.predictor not in TRAINED:
        yield Conflict(
            ("search.predictor_path", "search.predictor"),
            f"given, but only meta and ensemble are read from a folder, not {search.predictor}. Set it to "
            f"null.",
        )
    for key, values in (
        ("evaluate.models", config.evaluate.models),
        ("evaluate.benchmarks", config.evaluate.benchmarks),
        ("recover.baselines", recover.baselines),
        ("collect.lengths.steps", config.collect.lengths.steps if config.collect.lengths else ()),
        ("collect.curve", config.collect.curve),
    ):
        if len(set(values)) != len(values):
            yield Conflict((key,), f"given {list(values)}; each may be named once.")
    recovered = {"random", "linear_in_depth"} & set(config.evaluate.models)
    if missing := sorted(recovered - set(recover.baselines)):
        yield Conflict(
            ("evaluate.models", "recover.baselines"),
            f"names {', '.join(missing)}, which recover.baselines does not recover. Add it there, or "
            f"remove it here.",
        )
    for key, steps_list in (
        ("collect.lengths.steps", config.collect.lengths.steps if config.collect.lengths else ()),
        ("collect.curve", config.collect.curve),
    ):
        if any(length < 1 for length in steps_list):
            yield Conflict((key,), f"given {list(steps_list)}; each must be 1 or more.")


def _check_measure(config: RunConfig) -> Iterator[Conflict]:
    given, full = config.measure, config.recover.steps
    rungs = list(given.rungs)
    if rungs and (rungs != sorted(set(rungs)) or rungs[0] < 1 or rungs[-1] > full):
        yield Conflict(
            ("measure.rungs", "recover.steps"),
            f"given {rungs}; steps must ascend from 1 to at most the {full} of a full fine-tune.",
        )
    if given.kind == "spectra" and config.quantise is not None:
        yield Conflict(
            ("measure.kind", "compute.quantise"),
            "spectra reads the gradients of the frozen linears, and quantised ones have none. Use variance, "
            "or set compute.quantise: null.",
        )
    if given.kind == "reconstruction" and config.prune is not None and "blocks" in config.prune.targets:
        yield Conflict(
            ("measure.kind", "prune.targets"),
            "reconstruction compares each block with itself before pruning, and blocks are taken out. Use "
            "spectra or variance.",
        )
    if given.kind == "reconstruction" and config.prune is None:
        yield Conflict(
            ("measure.kind", "prune"),
            "reconstruction compares with the model before pruning, but prune is null. Use spectra or "
            "variance, or let the run prune.",
        )
    for key, kind in READ_BY.items():
        default = type(given).model_fields[key].default
        if getattr(given, key) != default and given.kind != kind:
            yield Conflict(
                (f"measure.{key}", "measure.kind"),
                f"given with measure.kind {given.kind}, which does not read it. Remove it, or set "
                f"measure.kind to {kind}.",
            )
