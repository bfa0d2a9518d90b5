"""The steps of a compression and what they cost, counted from the sizes of its model. No torch import."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rankadaptor.config import CompressConfig
from rankadaptor.config.compress import CompressRecoverSection
from rankadaptor.config.limits import read_size
from rankadaptor.defaults import CHOICE
from rankadaptor.engine.stock import choose_stock_types
from rankadaptor.engine.types import find_type
from rankadaptor.methods import find_method
from rankadaptor.planning.costs import (
    Work,
    count_forward,
    count_scoring_bytes,
    count_taylor,
    count_taylor_bytes,
    count_teacher,
    count_teacher_bytes,
    count_training,
    count_training_bytes,
)
from rankadaptor.planning.plan import PlanStep
from rankadaptor.planning.rates import PROCESS_BYTES, Rate
from rankadaptor.planning.shape import ModelShape
from rankadaptor.planning.trainable import count_trainable, count_training_parameters
from rankadaptor.recovery.grid import foresee_rungs

BATCH = 16  # sequences scored at once
COPIES_BYTES = 8  # of each weight: the rounded copies that the search keeps, about
BASELINES = ("uniform", "taylor", "flap", "block_influence", "sequential", "optimum")
SIMPLE = BASELINES[:4]
NEAR = 1.05  # multiple of the limit up to which a stock file is recovered
SWEEP_SHARE = 0.6  # of the evaluations, and of a pass that a score of the sweep computes
GOING_ON = 0.5  # share of the candidates that see all tokens
PROPOSED = 4  # candidates scored at a time
RANKS_PROPOSED = 2  # allocations of ranks at a time
START_SECONDS = 10.0  # of a process: packages and model
WRITE_SECONDS, TIMED_SECONDS = 6.0, 6.0  # of one file: rounding and writing it, measuring its speed
LATENCY_SECONDS = 120.0


def list_steps(config: CompressConfig, shape: ModelShape, rate: Rate, *, workers: int) -> Iterator[PlanStep]:
    """Yield the steps of a run in order.

    Args:
        config: The run.
        shape: The dense model's sizes.
        rate: Speed of one process.
        workers: Processes that compute at a time.
    """
    yield from _list_search_steps(_Costs(config, shape, rate, workers))
    yield from _list_recovery_steps(_Costs(config, shape, rate, workers))


def share_out(seconds: Sequence[float], *, workers: int) -> float:
    """Return how long pieces of work take that are done by several processes, the longest piece at least."""
    if not seconds:
        return 0.0
    if workers == 1 or len(seconds) == 1:
        return sum(seconds)
    return max(max(seconds), sum(seconds) / min(workers, len(seconds))) + START_SECONDS


@dataclass(frozen=True)
class _Costs:
    """Time, tokens and memory of the pieces that steps consist of."""

    config: CompressConfig
    shape: ModelShape
    rate: Rate
    workers: int

    def score(self, tokens: float) -> float:
        """Return the seconds of forward passes."""
        return self.rate.compute_seconds(count_forward(self.shape, self.work(tokens)))

    def work(self, tokens: float) -> Work:
        return Work(tokens=tokens, targets=tokens, length=self.config.data.length)

    @property
    def judged(self) -> int:
        """Tokens of the judging texts."""
        parts = 2 if self.config.data.other is not None else 1
        return parts * self.config.data.judge_sequences * self.config.data.length

    @property
    def searched(self) -> int:
        """Tokens of a score."""
        return self.config.data.search_sequences * self.config.data.length

    @property
    def calibration(self) -> int:
        return self.config.choices.importance_rows * self.config.data.length

    @property
    def scoring_bytes(self) -> int:
        """Memory of a process that scores."""
        weights = self.shape.multiplied * (self.rate.bytes_per_weight + COPIES_BYTES)
        batch = self.work(BATCH * self.config.data.length)
        return int(PROCESS_BYTES + weights + count_scoring_bytes(self.shape, batch, dtype=self.rate.dtype))

    @functools.cached_property
    def step(self) -> tuple[int, float, int]:
        """Tokens and seconds of an optimiser step, and the memory of a process that trains."""
        given = self.config.recover
        if given is None:
            return 0, 0.0, self.scoring_bytes
        tokens = given.batch_size * self.config.data.length
        work, dtype = self.work(tokens), self.rate.dtype
        method = find_method(given.method)
        adapter = count_trainable(method, self.shape, rank=given.rank)
        priced = count_training_parameters(method, self.shape, rank=given.rank)
        cost = count_training(self.shape, work, adapter=priced)
        memory = PROCESS_BYTES + count_training_bytes(self.shape, work, adapter=adapter, dtype=dtype)
        if given.may_need_teacher:
            cost += count_teacher(self.shape, work)
            memory += count_teacher_bytes(self.shape, work, dtype=dtype, outputs=given.hidden_weight > 0)
        return tokens, self.rate.compute_seconds(cost), int(memory)

    def recover(self, steps: int) -> float:
        """Return the seconds of a recovery."""
        return steps * self.step[1]


def _list_search_steps(costs: _Costs) -> Iterator[PlanStep]:
    config, workers = costs.config, costs.workers
    peak = count_taylor_bytes(costs.shape, costs.work(costs.calibration), dtype=costs.rate.dtype)
    yield PlanStep(
        "prepare",
        "order channels and heads, score the dense model",
        1,
        costs.calibration + costs.judged,
        costs.rate.compute_seconds(count_taylor(costs.shape, costs.work(costs.calibration)))
        + costs.score(costs.judged),
        int(PROCESS_BYTES + peak),
    )
    if config.limits.latency is not None:
        what = "measure types and widths on the engine"
        yield PlanStep("speed", what, 1, 0, LATENCY_SECONDS, PROCESS_BYTES)
    if config.search.recovered_steps:
        what, tokens = "recover the model whose configurations are scored", costs.step[0]
        seconds = costs.recover(config.search.recovered_steps) + 2 * costs.score(costs.searched)
        trained = config.search.recovered_steps * tokens
        yield PlanStep("scored_model", what, 1, trained, seconds, costs.step[2])
    slots = 2 * len(costs.shape.blocks) + (1 if costs.shape.tied else 2)
    sweep = min(2 * slots, int(SWEEP_SHARE * config.search.evaluations))
    one = costs.score(costs.searched)
    yield PlanStep(
        "sweep",
        f"{sweep} configurations that differ in one slot",
        sweep,
        sweep * costs.searched,
        share_out([SWEEP_SHARE * one] * sweep, workers=workers),
        workers * costs.scoring_bytes,
    )
    rest = config.search.evaluations - sweep
    few = min(config.search.screen_sequences / config.data.search_sequences, 1.0)
    share = few + GOING_ON * (1 - few)
    yield PlanStep(
        "search",
        "exact optimum of their sum, refinement on the true score",
        rest,
        round(rest * share * costs.searched),
        share_out([share * one] * rest, workers=min(workers, PROPOSED)),
        workers * costs.scoring_bytes,
    )
    names = _list_baselines(config)
    tried = len(config.choices.types) * len(names)
    yield PlanStep(
        "baselines",
        "the best type of each rule",
        len(names),
        round(tried * few * costs.searched),
        share_out([few * one] * tried, workers=workers),
        workers * costs.scoring_bytes,
    )


def _list_rungs(given: CompressRecoverSection) -> list[tuple[int, int]]:
    """Return recipes and steps of each rung of the choice of a recipe."""
    least = max(CHOICE.least_steps, find_method(given.method).fewest_steps)
    return foresee_rungs(given.list_grid(), steps=given.steps, share=given.choose_share, least=least)


def _list_recovery_steps(costs: _Costs) -> Iterator[PlanStep]:
    config, workers, given = costs.config, costs.workers, costs.config.recover
    tokens, _, memory = costs.step
    short, full = (given.finalist_steps, given.steps) if given is not None else (0, 0)
    choice = costs.score(costs.searched + costs.calibration)  # the text that chooses
    names = _list_baselines(config)
    rungs = _list_rungs(given) if given is not None else []
    tried = sum(count for count, _ in rungs)
    others = config.search.finalists - 1 + any(name in SIMPLE for name in names) + ("sequential" in names)
    trials = 1 + others if given is not None else 0
    trial = costs.recover(short) + choice
    yield PlanStep(
        "finalists",
        "choose the recipe of the recovery on the best one, recover the best ones shortly, choose one",
        tried + trials,
        sum(count * length for count, length in rungs) * tokens
        + trials * short * tokens
        + (tried + trials) * (costs.searched + costs.calibration),
        sum(share_out([costs.recover(length) + choice] * count, workers=workers) for count, length in rungs)
        + share_out([trial] * trials, workers=workers),
        min(workers, max(trials, 1)) * memory,
    )
    if given is not None and given.ranks == "searched":
        seeds, tried = given.rank_seeds, given.rank_evaluations
        rounds = [seeds + 1, *[RANKS_PROPOSED] * (tried // RANKS_PROPOSED), tried % RANKS_PROPOSED, seeds]
        count = sum(rounds)  # uniform once a seed
        held_out = costs.searched + costs.calibration
        yield PlanStep(
            "ranks",
            "short fine-tunes of rank allocations, the best against uniform on fresh seeds",
            count,
            count * (short * tokens + held_out),
            sum(share_out([trial] * each, workers=workers) for each in rounds if each),
            min(workers, seeds + 1) * memory,
        )
    stock = len(config.stock_types)
    files = stock * sum(name in config.references for name in ("stock", "stock_importance"))
    compared = stock if given is not None and "stock_recovered" in config.references else 0
    compared = compared if compared and _is_stock_near(config, costs.shape) else 0
    recovered = compared if given is not None and given.goes_through_rounding else min(compared, 1)
    rules = len(names)
    judged = costs.score(costs.judged) + WRITE_SECONDS
    pieces = {
        "recover": [costs.recover(full) + 2 * choice if given is not None else 0.0],
        "stock": [judged] * files,
        "stock_recovered": [costs.recover(full) + compared / max(recovered, 1) * judged] * recovered,
        "references": [costs.recover(full) + judged] * rules,
    }
    if workers > 1:
        together = [each for seconds in pieces.values() for each in seconds]
        yield PlanStep(
            "recoveries",
            f"the recoveries and files of the next steps, {workers} at a time",
            0,
            0,
            share_out(together, workers=workers),
            workers * memory,
        )
        pieces = {name: [] for name in pieces}
    yield PlanStep(
        "recover", "recover the chosen one in full", 1, full * tokens, sum(pieces["recover"]), memory
    )
    exported = 2 * (WRITE_SECONDS + TIMED_SECONDS)
    yield PlanStep("export", "write the file, check it on the engine", 1, 0, exported, memory)
    timed = TIMED_SECONDS if config.export.engine else 0.0
    yield PlanStep(
        "stock",
        f"{files} files of the dense model",
        0,
        files * costs.judged,
        sum(pieces["stock"]) + files * timed,
        costs.scoring_bytes,
    )
    yield PlanStep(
        "stock_recovered",
        f"the dense model recovered, as {compared} files" if compared else "nothing",
        recovered,
        compared * costs.judged + recovered * full * tokens,
        sum(pieces["stock_recovered"]),
        memory,
    )
    yield PlanStep(
        "references",
        f"{rules} files of other rules",
        rules if given is not None else 0,
        rules * (full * tokens + costs.judged),
        sum(pieces["references"]) + rules * timed,
        memory,
    )
    times = 2 if given is not None else 1  # with the recovery and without
    yield PlanStep(
        "judge",
        "loss on the judging texts, verdict",
        1,
        times * costs.judged,
        times * costs.score(costs.judged),
        costs.scoring_bytes,
    )


def _list_baselines(config: CompressConfig) -> list[str]:
    return [name for name in BASELINES if name in config.references]


def _is_stock_near(config: CompressConfig, shape: ModelShape) -> bool:
    """Tell whether the dense model is about small enough in its smallest stock type; see `recover_stock`."""
    if config.limits.size is None:
        return True
    return min(_count_stock_bytes(config, shape)) <= NEAR * read_size(config.limits.size)


def _count_stock_bytes(config: CompressConfig, shape: ModelShape) -> Iterator[int]:
    """Yield the bytes of the matrices of the dense model in each stock type."""
    sizes = {each.name: (each.out_features, each.in_features) for each in shape.linears}
    sizes |= dict.fromkeys(("model.embed_tokens", "lm_head"), (shape.vocabulary, shape.hidden))
    for name in config.stock_types:
        types = choose_stock_types(shape.linears, name, hidden=shape.hidden, tied=shape.tied)
        yield sum(find_type(kind).count_bytes(*sizes[module]) for module, kind in types.items())
