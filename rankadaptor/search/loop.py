"""The search: ask for allocations, measure them anywhere, tell the records."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.corpus.record import LOSS
from rankadaptor.errors import InputError, RankAdaptorError
from rankadaptor.progress import Progress
from rankadaptor.search.baselines import ONLY_UNIFORM, record_reference
from rankadaptor.search.candidates import draw_candidates, drop_seen
from rankadaptor.search.initial_design import POOL, choose_apart
from rankadaptor.search.proposals import Score, choose_score, score_mean
from rankadaptor.search.result import SearchResult, Step
from rankadaptor.space import breed

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Prediction, Predictor
    from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

INITIAL = 4
PARENTS = 8
ROUNDS = 4
SURVIVORS = 32
SURE = 4  # usable records before a search may stop early
SETTLED = 12  # usable records before it goes by how unsure a trained predictor is
PLAUSIBLE = 2.0  # standard deviations
UNSURE = ("expected_improvement", "upper_confidence_bound")

Ints = NDArray[np.int64]


class Search:
    """Looks for the allocation with the largest gain over uniform.

    Its whole state is its list of records. `ask` changes nothing, and with the same space, predictor, seed
    and records it answers the same; to resume a search, tell a new one what was measured:

        search = Search(space, predictor)
        while len(search.records) < 12:
            search.tell([measure(allocation) for allocation in search.ask()])
        result = search.result()

    which is what `run` does. Uniform is never proposed: its gain is 0 by definition.

    Attributes:
        space: Where it looks.
        predictor: As given, not conditioned on this search's records.
        seed: Seed of candidates and draws.
        proposal: How a candidate is chosen; one of `PROPOSALS`.
    """

    def __init__(
        self,
        space: Space,
        predictor: Predictor,
        *,
        seed: int = 0,
        proposal: str = "expected_improvement",
        candidates: int = 5000,
        initial: int | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            space: Where to look.
            predictor: What guides it.
            seed: Seed of candidates and draws.
            proposal: `expected_improvement`, `upper_confidence_bound`, `thompson`, `greedy`, `evolutionary`
                or `random`. With a pretrained predictor the first two go by the mean alone before the twelfth
                usable record.
            candidates: Allocations scored before each proposal; a fifth as many more refine the best of them.
            initial: Allocations spread over the space before the predictor is asked; by default 4, or none if
                it is pretrained.

        Raises:
            InputError: If the proposal is unknown or a number is too small.
        """
        if candidates < 2 or (initial is not None and initial < 0):
            raise InputError(f"candidates={candidates}, initial={initial}: at least 2 and 0.")
        self.space, self.predictor, self.seed, self.proposal = space, predictor, seed, proposal
        self._score: Score = choose_score(proposal)
        self._candidates = candidates
        self._initial = initial if initial is not None else (0 if predictor.pretrained else INITIAL)
        self._records: tuple[Record, ...] = ()
        self._history: tuple[Step, ...] = ()
        self._conditioned: Predictor | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """All records told so far."""
        return self._records

    @property
    def conditioned(self) -> Predictor:
        """The predictor, having seen all records."""
        if self._conditioned is None:
            self._conditioned = self.predictor.update(self.space, self._records)
        return self._conditioned

    @property
    def exhausted(self) -> bool:
        """Whether no candidate plausibly beats the best by more than the noise of one measurement.

        Plausible is up to two standard deviations above the predicted mean. Never true before four usable
        records.
        """
        if len(self._usable()) < max(SURE, self._initial):
            return False
        pool = self._draw_pool(frozenset(self._seen()), seed=self._draw_seed(0))
        if not len(pool):
            return True
        prediction = self.conditioned.predict(self.space, pool)
        promise = float((prediction.mean + PLAUSIBLE * prediction.std).max()) - self._find_incumbent(
            self.conditioned
        )
        return promise < prediction.noise

    def ask(self, count: int = 1) -> list[Allocation]:
        """Propose allocations that have not been measured; fewer than `count` only if no more are left.

        In a batch, each further proposal takes the ones before it as measured, with the gain the predictor
        expects of them.

        Raises:
            InputError: If `count` is less than 1, there is no allocation but uniform, or every allocation
                found has been measured.
        """
        if count < 1:
            raise InputError(f"count={count}: ask for at least one allocation.")
        seen = self._seen()
        chosen: list[tuple[int, ...]] = []
        if self.proposal != "random" and len(self._records) < self._initial:
            chosen = self._spread_out(seen, count=min(count, self._initial - len(self._records)))
        predictor = self.conditioned
        while len(chosen) < count:
            found = self._propose(predictor, seen | set(chosen), turn=len(chosen))
            if found is None:
                break
            chosen.append(found)
            if len(chosen) < count and self.proposal in UNSURE and not self._early:
                predictor = self._imagine(chosen)
        if not chosen and len(seen) == 1:
            raise InputError(ONLY_UNIFORM)
        if not chosen:
            raise InputError(
                f"all {len(seen) - 1} allocations that this space seems to have are measured. "
                "Take search.result(), or widen the space: more options or finer slots."
            )
        return [self.space.from_choices(choices) for choices in chosen]

    def tell(self, records: Record | Iterable[Record]) -> None:
        """Add records, failed ones too.

        Raises:
            InputError: If a record does not belong to the space.
        """
        given = tuple(records) if isinstance(records, Iterable) else (records,)
        for record in given:
            try:
                self.space.allocation(record.values)
            except InputError as error:
                raise InputError(
                    f"a record of setting {record.setting!r} is not of this search's space: {error} Tell "
                    "only records that were measured in this space."
                ) from error
        if not given:
            return
        prediction = self._foresee(given)
        best = self._history[-1].best_gain if self._history else 0.0
        steps = []
        for index, record in enumerate(given):
            best = max(best, record.gain) if record.gain is not None else best
            steps.append(
                Step(
                    evaluation=len(self._records) + index + 1,
                    values=record.values,
                    predicted_mean=float(prediction.mean[index]) if prediction else None,
                    predicted_std=float(prediction.std[index]) if prediction else None,
                    gain=record.gain,
                    best_gain=best,
                    status=record.status,
                )
            )
        self._records += given
        self._history += tuple(steps)
        self._conditioned = None

    def with_proposal(self, proposal: str) -> Search:
        """Return a search that knows the same records and chooses otherwise from now on.

        Raises:
            InputError: If the proposal is unknown.
        """
        other = Search(
            self.space,
            self.predictor,
            seed=self.seed,
            proposal=proposal,
            candidates=self._candidates,
            initial=self._initial,
        )
        other._records, other._history = self._records, self._history
        other._conditioned = self._conditioned
        return other

    def run(
        self,
        measure: Callable[[Allocation], Record],
        *,
        evaluations: int,
        on_record: Callable[[Record], None] | None = None,
        stop_below_noise: bool | None = None,
    ) -> SearchResult:
        """Ask, measure and tell until there are `evaluations` records, those told before included.

        Args:
            measure: Fine-tunes and returns a record; a failed one is told like any other, and the search goes
                on.
            evaluations: Records to reach.
            on_record: Called with each new record after it is told.
            stop_below_noise: End early once the search is `exhausted`. The noise is that of the runs it is
                told: gains that grow with the length of a run may be given up too early.

        Raises:
            InputError: If `evaluations` is less than 1.
            RankAdaptorError: If every fine-tune failed.
        """
        if evaluations < 1:
            raise InputError(f"evaluations={evaluations}: at least 1.")
        earlier = len(self._records)
        label = "search" if not earlier else f"search (after {earlier} earlier)"
        with Progress(label, max(evaluations - earlier, 0), interval=0.0) as progress:
            while len(self._records) < evaluations:
                if stop_below_noise and self.exhausted:
                    logger.info("search: stopped, no allocation promises more than the noise")
                    break
                try:
                    (allocation,) = self.ask()
                except InputError as error:
                    if not self._records:
                        raise
                    logger.info("search: stopped, %s", error)
                    break
                record = measure(allocation)
                self.tell(record)
                if on_record is not None:
                    on_record(record)
                progress.advance(note=f"best {self._history[-1].best_gain:+.4f} nats per token vs uniform")
        return self.result()

    def result(self) -> SearchResult:
        """Return the best measured allocation in the predictor's judgement, and everything behind it.

        Raises:
            RankAdaptorError: If there are no records, or no fine-tune succeeded.
        """
        usable = self._usable()
        if not self._records:
            raise RankAdaptorError(
                "no allocation was measured: this search has been told no records. Measure what ask() "
                "proposes and tell it, or call run()."
            )
        if not usable:
            errors = [record.error for record in self._records if record.error]
            raise RankAdaptorError(
                f"no allocation was measured: {len(self._records)} fine-tunes, all failed"
                + (f" (the last: {errors[-1]})." if errors else ".")
                + " Lower recipe.learning_rate or let the run tune it, and check the data."
            )
        means = self.conditioned.predict(self.space, np.asarray(usable, dtype=np.int64)).mean
        best = int(np.argmax(means))
        return SearchResult(
            best=self.space.from_choices(usable[best]),
            expected_gain=float(means[best]),
            records=self._records,
            history=self._history,
            predictor=self.conditioned,
        )

    # ── parts of a proposal ─────────────────────────────────────────────────────────────────────────────────

    def _propose(
        self, predictor: Predictor, seen: set[tuple[int, ...]], *, turn: int
    ) -> tuple[int, ...] | None:
        seed = self._draw_seed(turn)
        if self.proposal == "random":
            pool = drop_seen(self.space.sample_choices(self._candidates, seed), seen)
            return _read_row(pool[0]) if len(pool) else None
        pool = self._draw_pool(seen, seed=seed)
        if not len(pool):
            return None
        incumbent = self._find_incumbent(predictor)
        scores = self._rate(predictor, pool, incumbent, draw=seed)
        for number in range(ROUNDS):  # offspring of the best candidates: hill climbing on the score
            order = np.argsort(-scores, kind="stable")[:SURVIVORS]
            size = max(self._candidates // (5 * ROUNDS), 2)
            offspring = drop_seen(breed(self.space, pool[order], count=size, seed=seed + number + 2), seen)
            pool = np.concatenate([pool[order], offspring])
            scores = np.concatenate([scores[order], self._rate(predictor, offspring, incumbent, draw=seed)])
        return _read_row(pool[int(np.argmax(scores))])

    def _rate(
        self, predictor: Predictor, choices: Ints, incumbent: float, *, draw: int
    ) -> NDArray[np.float64]:
        return self._choose_score()(predictor.predict(self.space, choices), incumbent, draw)

    def _choose_score(self) -> Score:
        """Return the score to choose by, which is the mean alone where a trained predictor begins.

        It is least sure of the allocations that it expects to lose most: a score that seeks the unsure would
        begin with these, and a short search has no runs for them (`docs/decisions/0020`).
        """
        return score_mean if self._early and self.proposal in UNSURE else self._score

    @property
    def _early(self) -> bool:
        return self.predictor.pretrained and len(self._usable()) < SETTLED

    def _draw_pool(self, seen: Iterable[tuple[int, ...]], *, seed: int) -> Ints:
        parents = self._choose_parents()
        left_out = set(seen)
        if self.proposal == "evolutionary":
            bred = drop_seen(breed(self.space, parents, count=self._candidates, seed=seed), left_out)
            if len(bred):
                return bred
        return draw_candidates(self.space, count=self._candidates, parents=parents, seen=left_out, seed=seed)

    def _choose_parents(self) -> Ints:
        """Return uniform and measured allocations, those expected to gain most first, `(n, n_slots)`."""
        rows = np.asarray([self.space.origin, *self._usable()], dtype=np.int64)
        means = self.conditioned.predict(self.space, rows).mean
        return rows[np.argsort(-means, kind="stable")[:PARENTS]]

    def _find_incumbent(self, predictor: Predictor) -> float:
        """The largest expected gain among measured allocations and uniform, nats per token."""
        usable = self._usable()
        if not usable:
            return 0.0
        return max(0.0, float(predictor.predict(self.space, np.asarray(usable, dtype=np.int64)).mean.max()))

    def _spread_out(self, seen: set[tuple[int, ...]], *, count: int) -> list[tuple[int, ...]]:
        pool = drop_seen(self.space.sample_choices(POOL, self._draw_seed(0, told=False)), seen)
        measured = self._find_choices(self._records)
        return [_read_row(row) for row in choose_apart(self.space, pool, measured, count=count)]

    def _imagine(self, chosen: list[tuple[int, ...]]) -> Predictor:
        """Condition on the proposals of this batch as if they had turned out as expected."""
        means = self.conditioned.predict(self.space, np.asarray(chosen, dtype=np.int64)).mean
        usable = (record for record in self._records if record.gain is not None)
        template = next(usable, None) or record_reference(self.space)
        imagined = [
            dataclasses.replace(
                template,
                values=values,
                metrics={**template.metrics, LOSS: (template.loss_reference or 0.0) - float(mean)},
                sequence_losses=None,
            )
            for values, mean in zip(self.space.read_labels(chosen), means, strict=True)
        ]
        return self.predictor.update(self.space, [*self._records, *imagined])

    def _foresee(self, records: tuple[Record, ...]) -> Prediction | None:
        if not self.predictor.pretrained and not self._usable():
            return None
        return self.conditioned.predict(self.space, self._find_choices(records))

    def _usable(self) -> list[tuple[int, ...]]:
        """Distinct allocations with at least one good record, in the order told."""
        usable = dict.fromkeys(record.values for record in self._records if record.gain is not None)
        return [self.space.find_choices(values) for values in usable]

    def _seen(self) -> set[tuple[int, ...]]:
        return {self.space.origin, *(self.space.find_choices(record.values) for record in self._records)}

    def _find_choices(self, records: Sequence[Record]) -> Ints:
        return np.asarray([self.space.find_choices(record.values) for record in records], dtype=np.int64)

    def _draw_seed(self, turn: int, *, told: bool = True) -> int:
        state = np.random.SeedSequence([self.seed, len(self._records) if told else 0, turn]).generate_state(1)
        return int(state[0])


def _read_row(row: Ints) -> tuple[int, ...]:
    return tuple(int(value) for value in row)
