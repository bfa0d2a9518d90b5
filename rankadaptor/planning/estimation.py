"""The plan of a run file: numbers of runs and tokens, and a simple model of time and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rankadaptor.components.adapter import count_parameters
from rankadaptor.config import RunConfig
from rankadaptor.config.measure_section import SCORES
from rankadaptor.config.sections import TuneSection
from rankadaptor.config.stages import ChooseSection
from rankadaptor.defaults import RECOVERY
from rankadaptor.planning.assumptions import (
    BENCHMARKS,
    UNKNOWN_BENCHMARK,
    count_workers,
    describe_search,
    list_assumptions,
)
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
from rankadaptor.planning.lengths import count_sequences, guess_row
from rankadaptor.planning.plan import Plan, PlanStep
from rankadaptor.planning.planned_space import build_planned_space
from rankadaptor.planning.preconditions import KEPT_PREDICTOR, PREVIEW, check_inputs
from rankadaptor.planning.rates import PROCESS_BYTES, Rate, choose_rate
from rankadaptor.planning.resumption import mark_done
from rankadaptor.planning.shape import ModelShape, shrink_shape
from rankadaptor.planning.token_law import describe_tokens
from rankadaptor.planning.trainable import count_lengths
from rankadaptor.progress import format_seconds
from rankadaptor.recipe import EXPONENT_PROBES, GRADIENT, GRADIENT_GROUP_BYTES, GRADIENT_ROWS
from rankadaptor.recovery.grid import foresee_rungs

GRADIENT_BYTES = 4  # per weight, during a gradient initialisation
PROCESS_SECONDS = 15.0
SCORED_AT_ONCE = 16  # held-out sequences in one forward pass
BENCHMARK_BATCH = 8  # questions
LOGIT_BYTES = 10  # there: logits of every token, and their float32 logarithms
GRADIENT_IMPORTANCES = ("param_first", "param_second", "param_mix", "vectorwise")


def estimate(config: RunConfig, *, measure: bool = False) -> Plan:
    """Estimate what `rankadaptor run` will do, from the model's `config.json` alone.

    Time is operations divided by the speed of matrix products, plus the memory traffic of the other
    operations; memory is that of the training loop (`rankadaptor.planning.costs`). Rows of the kit have their
    measured mean lengths; other sequences are assumed full, so their tokens are upper bounds.

    Args:
        config: The run.
        measure: Measure this machine's matrix products for a second instead of using a typical value.

    Raises:
        InputError: If the model is unknown, inputs are missing or malformed, or the space does not fit.
        BudgetError: If no allocation meets the budget.
    """
    shape = check_inputs(config, first=PREVIEW, guided=(Path(config.output) / KEPT_PREDICTOR).exists())
    pruned = shape if config.prune is None else shrink_shape(shape, config.prune)
    space = build_planned_space(config, pruned)
    rate = choose_rate(config.compute, measure=measure)
    costs = _Costs(
        config,
        dense=shape,
        pruned=pruned,
        adapter=count_parameters(space, space.reference().values) + count_lengths(config, pruned),
        rate=rate,
    )
    steps, refusals = mark_done(costs.list_steps(), config)
    notes = [*config.list_places(), *list_assumptions(config, rate), *costs.advise_on_tuning()]
    notes += [*describe_search(config), *describe_tokens(costs.count_recovery_tokens())]
    return Plan(
        name=config.name,
        digest=config.digest(),
        output=config.output,
        parameters=shape.parameters,
        pruned_parameters=pruned.parameters,
        adapter_parameters=costs.adapter,
        slots=len(space.slots),
        steps=steps,
        assumptions=(*notes, *refusals),
        method=config.recover.method,
    )


class _Costs:
    """Tokens, seconds and bytes of single fine-tunes and evaluations of one run."""

    def __init__(
        self, config: RunConfig, *, dense: ModelShape, pruned: ModelShape, adapter: int, rate: Rate
    ) -> None:
        self.config, self.dense, self.pruned, self.adapter, self.rate = config, dense, pruned, adapter, rate
        recipe, data = config.recipe, config.data
        self.row = guess_row(data.train, length=recipe.sequence_length)
        tried = (recipe.tune.initialisations if recipe.tune is not None else None) or ()
        aimed = GRADIENT in (recipe.initialisation, *tried)
        self.start = self.row.repeat(GRADIENT_ROWS if aimed else 0)
        scored, length = data.held_out or data.train, recipe.sequence_length
        self.held_out = guess_row(scored, length=length).repeat(
            count_sequences(scored, rows=data.held_out_rows, length=length)
        )

    def list_steps(self) -> list[PlanStep]:
        config = self.config
        tune, search, confirm = config.recipe.tune, config.search, config.confirm
        steps = [self._prepare()]
        if tune is not None:
            steps.append(self._tune(tune, steps=tune.steps or search.steps))
        steps.append(self._search())
        what = f"winner and uniform on {confirm.seeds} fresh seeds"
        steps.append(
            self._train("confirm", what, runs=2 * confirm.seeds, steps=confirm.steps or search.steps)
        )
        if config.recover.choose is not None:
            steps += self._choose(config.recover.choose)
        names = dict.fromkeys(["searched", "uniform", *config.recover.baselines])
        what = f"full fine-tunes: {', '.join(names)}"
        whole = config.recover.steps
        scored = -(-whole // (config.recover.evaluate_every or RECOVERY.space_evaluations(whole)))
        steps.append(
            self._train("recover", what, runs=len(names), steps=config.recover.steps, scored=scored + 1)
        )
        if config.evaluate.benchmarks:
            steps.append(self._evaluate())
        return steps

    def _tune(self, tune: TuneSection, *, steps: int) -> PlanStep:
        tries = len(self.config.tried_rates) * len(tune.initialisations or (0,))
        exponents = len(tune.scaling_exponents or (0,))
        tries += EXPONENT_PROBES * exponents if exponents > 1 else 0
        return self._train("tune", "uniform at each rate", runs=tries, steps=steps)

    def _choose(self, given: ChooseSection) -> list[PlanStep]:
        """Estimate the choice of the full fine-tunes' recipe, one training after the other."""
        rungs = foresee_rungs(given.list_grid(), steps=self.config.recover.steps, share=given.share)
        runs = sum(count for count, _ in rungs)
        if not runs:
            return []
        mean = sum(count * steps for count, steps in rungs) // runs
        climbed = ", ".join(f"{count} for {steps}" for count, steps in rungs)
        step = self._train("choose", "", runs=runs, steps=mean)
        return [replace(step, what=f"recipe of the full fine-tunes, recipes and steps: {climbed}")]

    def count_recovery_tokens(self) -> int:
        """Return the tokens that one full fine-tune trains on."""
        return round(self.row.repeat(self.config.recover.steps * self.config.recipe.batch_size).tokens)

    def advise_on_tuning(self) -> list[str]:
        """Estimate tuning at the length of the recovery, if the run tunes at a shorter length."""
        tune, whole = self.config.recipe.tune, self.config.recover.steps
        if tune is None or (steps := tune.steps or self.config.search.steps) >= whole:
            return []
        if self.config.recover.choose is not None:
            return []
        seconds = self._tune(tune, steps=whole).seconds
        return [
            f"Learning rates are tried on {steps} of {whole} steps, and short runs prefer rates that are too "
            f"high. With recipe.tune.steps={whole} tuning takes {format_seconds(seconds)}; recover.choose "
            "chooses a rate for the full fine-tunes alone. The rate matters more than the ranks."
        ]

    def _search(self) -> PlanStep:
        """The step of the search, for the kind of its measurements."""
        config, kind = self.config, self.config.measure.kind
        tune, search = config.recipe.tune, config.search
        if kind in SCORES:
            return self._allocate_by_score()
        if kind == "elastic":
            return self._train(
                "search",
                f"an elastic adapter, then {search.evaluations} slices and uniform's by forward passes",
                runs=1,
                steps=config.measure.steps or config.recover.steps,
                scored=search.evaluations + 1,
            )
        if kind == "successive_halving":
            return self._climb()
        # The search uses the tuning's trial of uniform at the chosen rate if both have equal length.
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

    def _allocate_by_score(self) -> PlanStep:
        kind, examples = self.config.measure.kind, self.config.measure.examples
        work = self.row.repeat(examples * (2 if kind == "reconstruction" else 1))
        count = count_taylor if kind == "spectra" else count_forward
        return PlanStep(
            name="search",
            what=f"ranks allocated by {kind}, {examples} examples, nothing trained",
            runs=0,
            tokens=round(work.tokens),
            seconds=PROCESS_SECONDS + self.rate.compute_seconds(count(self.dense, work)),
            peak_bytes=PROCESS_BYTES + (4 + self.rate.bytes_per_weight) * self.dense.parameters,
        )

    def _train(
        self, name: str, what: str, *, runs: int, steps: int, width: int | None = None, scored: int = 1
    ) -> PlanStep:
        config, recipe = self.config, self.config.recipe
        trained = self.row.repeat(steps * recipe.batch_size)
        one = self.rate.compute_seconds(
            count_training(
                self.pruned, trained, adapter=self.adapter, recompute=recipe.gradient_checkpointing
            )
        )
        if recipe.needs_teacher:
            one += self.rate.compute_seconds(count_teacher(self.dense, trained))
        one += scored * self._score_held_out(self.pruned)
        groups = -(-GRADIENT_BYTES * self.pruned.parameters // GRADIENT_GROUP_BYTES)  # a pass each
        one += groups * self.rate.compute_seconds(count_taylor(self.pruned, self.start))
        beside = min(count_workers(config), width or runs, runs)
        rounds = -(-runs // beside)
        return PlanStep(
            name=name,
            what=f"{what}, {steps} steps each",
            runs=runs,
            tokens=round(runs * (trained.tokens + self.start.tokens + scored * self.held_out.tokens)),
            seconds=PROCESS_SECONDS + rounds * one,
            peak_bytes=PROCESS_BYTES * (beside > 1) + beside * self._count_trial_bytes(),
        )

    def _score_held_out(self, shape: ModelShape) -> float:
        return self.rate.compute_seconds(count_forward(shape, self.held_out))

    def _prepare(self) -> PlanStep:
        config, shapes = self.config, {"dense": self.dense, "pruned": self.pruned}
        seconds, calibration, held = 0.0, Work(0, 0, 0), 0.0
        if config.prune is None:
            del shapes["dense"]
        elif config.prune.importance in GRADIENT_IMPORTANCES:
            given = config.prune.calibration
            count = given.examples * given.length
            calibration = Work(count, given.examples * (given.length - 1), given.length)
            seconds = self.rate.compute_seconds(count_taylor(self.dense, calibration))
            held = count_taylor_bytes(self.dense, calibration, dtype=self.rate.dtype)
        seconds += sum(self._score_held_out(shape) for shape in shapes.values())
        scored = self._count_scoring_bytes(self.dense, quantise=None)
        what = "load," if config.prune is None else "prune, then"
        return PlanStep(
            name="prepare",
            what=f"{what} measure held-out loss of {' and '.join(shapes)}",
            runs=0,
            tokens=round(calibration.tokens + len(shapes) * self.held_out.tokens),
            seconds=PROCESS_SECONDS + seconds,
            peak_bytes=PROCESS_BYTES + round(max(scored, held)),
        )

    def _evaluate(self) -> PlanStep:
        given = self.config.evaluate
        per_model, seconds = 0, 0.0
        for name in given.benchmarks:
            rows, tokens = BENCHMARKS.get(name, UNKNOWN_BENCHMARK)
            rows = min(rows, given.limit or rows)
            per_model += rows * tokens
            # lm-eval takes logits at every token of a question and its answers.
            seconds += self.rate.compute_seconds(
                count_forward(self.pruned, Work(rows * tokens, rows * tokens, tokens / 4))
            )
        runs = len(given.models)
        beside = min(count_workers(self.config), runs)
        longest = self.config.recipe.sequence_length
        batch = Work(BENCHMARK_BATCH * longest, BENCHMARK_BATCH * longest, longest)
        held = count_scoring_bytes(self.dense, batch, dtype=self.rate.dtype, quantise=self.config.quantise)
        held += LOGIT_BYTES * batch.tokens * self.dense.vocabulary
        return PlanStep(
            name="evaluate",
            what=f"{len(given.benchmarks)} benchmarks for {', '.join(given.models)}",
            runs=runs,
            tokens=runs * per_model,
            seconds=PROCESS_SECONDS + -(-runs // beside) * seconds,
            peak_bytes=PROCESS_BYTES * (beside > 1) + beside * (PROCESS_BYTES + round(held)),
        )

    def _count_trial_bytes(self) -> int:
        """Memory of one process that fine-tunes and scores."""
        recipe = self.config.recipe

        def count_bytes(*, recompute: bool) -> float:
            return count_training_bytes(
                self.pruned,
                self.row.repeat(recipe.micro_batch_size),
                adapter=self.adapter,
                dtype=self.rate.dtype,
                quantise=self.config.quantise,
                recompute=recompute,
            )

        training = count_bytes(recompute=recipe.gradient_checkpointing)
        if self.start.tokens:  # activations are not recomputed, and gradients are kept in groups
            gradients = min(GRADIENT_BYTES * self.pruned.parameters, GRADIENT_GROUP_BYTES)
            aiming = count_bytes(recompute=False) + gradients
            training = max(training, aiming)
        if recipe.needs_teacher:
            training += count_teacher_bytes(
                self.dense,
                self.row.repeat(recipe.micro_batch_size),
                dtype=self.rate.dtype,
                outputs=recipe.hidden_weight > 0,
            )
        scoring = self._count_scoring_bytes(self.pruned, quantise=self.config.quantise)
        return PROCESS_BYTES + round(max(training, scoring))

    def _count_scoring_bytes(self, shape: ModelShape, *, quantise: str | None) -> float:
        length = self.config.recipe.sequence_length
        batch = Work(SCORED_AT_ONCE * length, SCORED_AT_ONCE * length, length)
        return count_scoring_bytes(shape, batch, dtype=self.rate.dtype, quantise=quantise)
