"""From a run file to its plan: counts of runs and tokens, and a simple model of time and memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rankadaptor.config import RunConfig
from rankadaptor.config.measure_section import SCORES
from rankadaptor.planning.plan import Plan, PlanStep
from rankadaptor.planning.rates import Rate, choose_rate
from rankadaptor.planning.shape import ModelShape, read_shape, shrink_shape
from rankadaptor.space import RankSpace, Space, count_parameters

# Forward 2, and 2 more for the gradient of the activations; frozen weights need no gradient of their own.
TRAINING_FLOPS = 4
FORWARD_FLOPS = 2
CALIBRATION_FLOPS = 6

# Rows a benchmark scores, and tokens per question with all its answers, as SmolLM2's tokenizer counts them.
BENCHMARKS: Mapping[str, tuple[int, int]] = {
    "boolq": (3270, 290),
    "piqa": (1838, 90),
    "hellaswag": (10042, 400),
    "winogrande": (1267, 56),
    "arc_easy": (2376, 130),
    "arc_challenge": (1172, 160),
    "openbookqa": (500, 80),
}
UNKNOWN_BENCHMARK = (2000, 300)

PROCESS_BYTES = 700_000_000  # Python with torch, transformers and peft loaded
PROCESS_SECONDS = 15.0
ADAPTER_BYTES = 16  # float32 weight, gradient, two moments of Adam
LOGIT_BYTES = 10  # logits, their float32 copy and its gradient


def estimate(config: RunConfig, *, measure: bool = False) -> Plan:
    """Estimate what `rankadaptor run` will do, from the model's `config.json` alone.

    Time is operations over rate: 4 per weight and trained token, 2 per weight and scored token. Sequences are
    taken to be full, so tokens are upper bounds.

    Args:
        config: The run.
        measure: Measure this machine's matrix products for a second instead of taking a usual figure.

    Raises:
        InputError: If the model is unknown, or the space does not fit it.
        BudgetError: If no allocation meets the budget.
    """
    shape = read_shape(config.model)
    pruned = shape if config.prune is None else shrink_shape(shape, config.prune)
    space = _build_space(config, pruned)
    rate = choose_rate(config.compute, measure=measure)
    costs = _Costs(
        config, dense=shape, pruned=pruned, adapter=count_parameters(space, space.reference), rate=rate
    )
    folder = Path(config.output) / "steps"
    steps = tuple(
        PlanStep(**{**vars(step), "done": (folder / f"{step.name}.json").exists()})
        for step in costs.list_steps()
    )
    return Plan(
        name=config.name,
        digest=config.digest(),
        output=config.output,
        parameters=shape.parameters,
        pruned_parameters=pruned.parameters,
        adapter_parameters=costs.adapter,
        slots=len(space.slots),
        steps=steps,
        assumptions=tuple(_list_assumptions(config, rate)),
    )


def _build_space(config: RunConfig, shape: ModelShape) -> Space:
    given = config.space
    return RankSpace.from_linears(
        shape.linears,
        like_uniform=given.like_uniform,
        parameters=given.parameters,
        megabytes=given.megabytes,
        slots=given.slots,
        ranks=given.ranks,
        mode=given.mode,
        pinned=given.pinned,
        blocks=given.blocks,
    )


class _Costs:
    """Tokens, seconds and bytes of single fine-tunes and evaluations of one run."""

    def __init__(
        self, config: RunConfig, *, dense: ModelShape, pruned: ModelShape, adapter: int, rate: Rate
    ) -> None:
        self.config, self.dense, self.pruned, self.adapter, self.rate = config, dense, pruned, adapter, rate
        self.held_out = config.data.held_out_rows * config.recipe.sequence_length

    def list_steps(self) -> list[PlanStep]:
        config = self.config
        tune, search, confirm = config.recipe.tune, config.search, config.confirm
        steps = [self._prepare()]
        if tune is not None:
            tries = len(tune.learning_rates) * len(tune.scaling_exponents or (0,))
            steps.append(
                self._train("tune", "uniform at each rate", runs=tries, steps=tune.steps or search.steps)
            )
        steps.append(self._search())
        what = f"winner and uniform on {confirm.seeds} fresh seeds"
        steps.append(
            self._train("confirm", what, runs=2 * confirm.seeds, steps=confirm.steps or search.steps)
        )
        names = dict.fromkeys(["searched", "uniform", *config.recover.baselines])
        what = f"full fine-tunes: {', '.join(names)}"
        scored = max(5, config.recover.steps // (config.recover.evaluate_every or config.recover.steps))
        steps.append(
            self._train("recover", what, runs=len(names), steps=config.recover.steps, scored=scored + 1)
        )
        if config.evaluate.benchmarks:
            steps.append(self._evaluate())
        return steps

    def _search(self) -> PlanStep:
        """The search, by the way that its allocations are measured."""
        config, kind = self.config, self.config.measure.kind
        tune, search = config.recipe.tune, config.search
        if kind in SCORES:
            return self._deal_out()
        if kind == "elastic":
            return self._train(
                "search",
                f"a super-adapter, then {search.evaluations} of its slices and uniform's by forward passes",
                runs=1,
                steps=config.measure.steps or config.recover.steps,
                scored=search.evaluations + 1,
            )
        if kind == "successive_halving":
            return self._climb()
        # The tuning's trial of uniform at the chosen rate serves the search too where both are equally long.
        known = tune is not None and (tune.steps or search.steps) == search.steps
        what = f"{search.evaluations} allocations" + ("" if known else " and uniform")
        runs = search.evaluations + (not known)
        return self._train("search", what, runs=runs, steps=search.steps, width=search.batch)

    def _climb(self) -> PlanStep:
        given, search = self.config.measure, self.config.search
        rungs, counts = given.list_rungs(search.steps), [search.evaluations]
        for _ in rungs[1:]:
            counts.append(max(1, int(counts[-1] * given.keep)))
        parts = [
            self._train("search", "", runs=count + 1, steps=steps, width=search.batch if not place else None)
            for place, (count, steps) in enumerate(zip(counts, rungs, strict=True))
        ]
        climbed = ", ".join(f"{count} for {steps}" for count, steps in zip(counts, rungs, strict=True))
        return PlanStep(
            name="search",
            what=f"allocations and uniform, steps: {climbed}",
            runs=sum(part.runs for part in parts),
            tokens=sum(part.tokens for part in parts),
            seconds=sum(part.seconds for part in parts) - PROCESS_SECONDS * (len(parts) - 1),
            peak_bytes=max(part.peak_bytes for part in parts),
        )

    def _deal_out(self) -> PlanStep:
        kind, examples = self.config.measure.kind, self.config.measure.examples
        tokens = examples * self.config.recipe.sequence_length * (2 if kind == "reconstruction" else 1)
        flops = CALIBRATION_FLOPS if kind == "spectra" else FORWARD_FLOPS
        return PlanStep(
            name="search",
            what=f"ranks dealt out by {kind}, {examples} examples, nothing trained",
            runs=0,
            tokens=tokens,
            seconds=PROCESS_SECONDS + tokens * flops * self.dense.multiplied / self.rate.training,
            peak_bytes=PROCESS_BYTES + (4 + self.rate.bytes_per_weight) * self.dense.parameters,
        )

    def _train(
        self, name: str, what: str, *, runs: int, steps: int, width: int | None = None, scored: int = 1
    ) -> PlanStep:
        recipe = self.config.recipe
        trained = steps * recipe.batch_size * recipe.sequence_length
        held_out = self.held_out * scored
        one = trained * TRAINING_FLOPS * self.pruned.multiplied / self.rate.training
        one += held_out * FORWARD_FLOPS * self.pruned.multiplied / self.rate.forward
        beside = min(self.config.compute.workers, width or runs, runs)
        rounds = -(-runs // beside)
        return PlanStep(
            name=name,
            what=f"{what}, {steps} steps each",
            runs=runs,
            tokens=runs * (trained + held_out),
            seconds=PROCESS_SECONDS + rounds * one,
            peak_bytes=PROCESS_BYTES * (beside > 1) + beside * self._count_training_bytes(),
        )

    def _prepare(self) -> PlanStep:
        config, shapes = self.config, {"dense": self.dense, "pruned": self.pruned}
        calibration = 0
        if config.prune is not None:
            calibration = config.prune.calibration.examples * config.prune.calibration.length
        else:
            del shapes["dense"]
        seconds = calibration * CALIBRATION_FLOPS * self.dense.multiplied / self.rate.training
        for shape in shapes.values():
            seconds += self.held_out * FORWARD_FLOPS * shape.multiplied / self.rate.forward
        gradients = 4 * self.dense.parameters if calibration else 0
        what = "prune, then" if calibration else "load,"
        return PlanStep(
            name="prepare",
            what=f"{what} measure held-out loss of {' and '.join(shapes)}",
            runs=0,
            tokens=calibration + len(shapes) * self.held_out,
            seconds=PROCESS_SECONDS + seconds,
            peak_bytes=PROCESS_BYTES + self.rate.bytes_per_weight * self.dense.parameters + gradients,
        )

    def _evaluate(self) -> PlanStep:
        given = self.config.evaluate
        per_model = 0
        for name in given.benchmarks:
            rows, tokens = BENCHMARKS.get(name, UNKNOWN_BENCHMARK)
            per_model += min(rows, given.limit or rows) * tokens
        runs = len(given.models)
        beside = min(self.config.compute.workers, runs)
        one = per_model * FORWARD_FLOPS * self.pruned.multiplied / self.rate.forward
        weights = self.rate.bytes_per_weight * self.dense.parameters
        return PlanStep(
            name="evaluate",
            what=f"{len(given.benchmarks)} benchmarks for {', '.join(given.models)}",
            runs=runs,
            tokens=runs * per_model,
            seconds=PROCESS_SECONDS + -(-runs // beside) * one,
            peak_bytes=PROCESS_BYTES * (beside > 1)
            + beside * (PROCESS_BYTES + weights + self._count_logit_bytes()),
        )

    def _count_training_bytes(self) -> int:
        """Memory of one process that fine-tunes: weights, adapter, activations, logits."""
        recipe, shape = self.config.recipe, self.pruned
        tokens = recipe.micro_batch_size * recipe.sequence_length
        widths = sum(
            8 * shape.hidden + 2 * block.heads * shape.head_dim + 4 * block.channels for block in shape.blocks
        )
        if recipe.gradient_checkpointing:
            widths = shape.hidden * len(shape.blocks) + widths // max(len(shape.blocks), 1)
        weights = self.rate.bytes_per_weight * shape.parameters
        activations = tokens * widths * self.rate.bytes_per_weight
        return (
            PROCESS_BYTES + weights + ADAPTER_BYTES * self.adapter + activations + self._count_logit_bytes()
        )

    def _count_logit_bytes(self) -> int:
        recipe = self.config.recipe
        return LOGIT_BYTES * recipe.micro_batch_size * recipe.sequence_length * self.pruned.vocabulary


def _list_assumptions(config: RunConfig, rate: Rate) -> list[str]:
    notes = [
        f"{rate.flops / 1e9:,.0f} GFLOP/s a process: {rate.source}.",
        "Sequences are taken to be full: tokens and times are upper bounds for short rows.",
    ]
    if config.prune is not None:
        notes.append("Sizes after pruning assume that every block loses the same share.")
    cores = os.cpu_count() or 1
    if config.compute.workers * config.compute.threads > cores:
        notes.append(
            f"compute.workers {config.compute.workers} x compute.threads {config.compute.threads} exceed "
            f"the {cores} "
            "cores here: trials will slow each other down."
        )
    unknown = [name for name in config.evaluate.benchmarks if name not in BENCHMARKS]
    if unknown:
        notes.append(f"Length of {', '.join(unknown)} is unknown; taken as {UNKNOWN_BENCHMARK[0]} questions.")
    return notes
