"""The search: ask for allocations, measure them anywhere, tell the records."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.defaults import SEARCH
from rankadaptor.errors import InputError
from rankadaptor.progress import Progress
from rankadaptor.search.baselines import ONLY_UNIFORM, imagine_records
from rankadaptor.search.candidates import (
    ROUNDS,
    choose_parents,
    climb,
    draw_candidates,
    drop_seen,
    find_incumbent,
)  # fmt: skip
from rankadaptor.search.initial_design import spread_out
from rankadaptor.search.proposals import UNSURE, Score, choose_score, score_mean
from rankadaptor.search.result import (
    SearchResult,
    Step,
    check_records,
    describe_best,
    explain_no_result,
    list_steps,
    list_usable,
)  # fmt: skip
from rankadaptor.space import breed

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Prediction, Predictor
    from rankadaptor.search.refinement import Refinement
    from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)

INITIAL = 4
SURE = 4  # usable records before a search may stop early
PLAUSIBLE = 2.0  # standard deviations

Ints = NDArray[np.int64]


class Search:
    """Searches for the allocation with the largest gain over the first reference.

    Its whole state is its list of records. `ask` changes nothing, and with the same space, predictor, seed
    and records it answers the same; to resume a search, tell a new one what was measured:

        search = Search(space, predictor)
        while len(search.records) < 12:
            search.tell([measure(allocation) for allocation in search.ask()])
        result = search.result()

    which is what `run` does. The first reference is never proposed: its gain is 0 by definition.

    Attributes:
        space: The space that is searched.
        predictor: As given, not conditioned on this search's records.
        seed: Seed of candidates and draws.
        proposal: How a candidate is chosen; one of `PROPOSALS`.
        mean_until: Usable records from which on a pretrained predictor's uncertainty counts.
    """

    def __init__(
        self,
        space: Space,
        predictor: Predictor,
        *,
        seed: int = 0,
        proposal: str = SEARCH.proposal,
        mean_until: int = SEARCH.mean_until,
        candidates: int = SEARCH.candidates,
        initial: int | None = None,
        refinement: Refinement | None = None,
    ) -> None:
        """Prepare a search.

        Args:
            space: The space to search.
            predictor: Ranks the candidates.
            seed: Seed of candidates and draws.
            proposal: `expected_improvement`, `upper_confidence_bound`, `thompson`, `greedy`, `evolutionary`
                or `random`.
            mean_until: With a pretrained predictor, the first two maximise the predicted mean until so many
                usable records are there (`docs/decisions/0020`); 0 uses the proposal from the start.
            candidates: Allocations scored before each proposal; a fifth as many more refine the best of them.
            initial: Allocations spread over the space before the predictor is asked; by default 4, or none if
                it is pretrained.
            refinement: Chooses allocations near the best measured ones, in place of `proposal`.

        Raises:
            InputError: If the proposal is unknown or a number is too small.
        """
        if candidates < 2 or (initial is not None and initial < 0) or mean_until < 0:
            raise InputError(
                f"candidates={candidates}, initial={initial}, mean_until={mean_until}: at least 2, 0 and 0."
            )
        self.space, self.predictor, self.seed, self.proposal = space, predictor, seed, proposal
        self.mean_until = mean_until
        self._score: Score = choose_score(proposal)
        self._candidates, self._refinement = candidates, refinement
        self._initial = initial if initial is not None else (0 if predictor.pretrained else INITIAL)
        self._floor = 0.0 if space.contains(space.reference().values) else None
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
        """Whether no candidate is likely to beat the best by more than the noise of one measurement.

        That is judged two standard deviations above the predicted mean; never true before four usable
        records.
        """
        if len(self._usable()) < max(SURE, self._initial):
            return False
        pool = self._draw_pool(frozenset(self._seen()), seed=self._draw_seed(0))
        if not len(pool):
            return True
        prediction = self.conditioned.predict(self.space, pool)
        promise = float((prediction.mean + PLAUSIBLE * prediction.std).max())
        best = find_incumbent(self.space, self.conditioned, self._usable(), floor=self._floor)
        return promise - best < prediction.noise

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
            number = min(count, self._initial - len(self._records))
            measured = self._find_choices(self._records)
            chosen = spread_out(
                self.space, measured, seen=seen, count=number, seed=self._draw_seed(0, told=False)
            )
        predictor = self.conditioned
        while len(chosen) < count:
            found = self._propose(predictor, seen | set(chosen), turn=len(chosen))
            if found is None:
                break
            chosen.append(found)
            unsure = self._refinement is not None and not self._refinement.blind
            unsure = unsure or (self.proposal in UNSURE and not self._early)
            if len(chosen) < count and unsure:
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
        check_records(self.space, given)
        if not given:
            return
        prediction = self._predict_before(given)
        best = self._history[-1].best_gain if self._history else self._floor
        steps = list_steps(given, prediction, first=len(self._records) + 1, best=best)
        self._records += given
        self._history += tuple(steps)
        self._conditioned = None

    def with_proposal(self, proposal: str) -> Search:
        """Return a search that knows the same records and chooses otherwise from now on.

        Raises:
            InputError: If the proposal is unknown.
        """
        other = copy.copy(self)  # what it refers to is never changed in place
        other.proposal, other._score = proposal, choose_score(proposal)
        return other

    def run(
        self,
        measure: Callable[[Allocation], Record],
        *,
        evaluations: int = SEARCH.evaluations,
        batch: int = SEARCH.batch,
        on_record: Callable[[Record], None] | None = None,
        stop_below_noise: bool = SEARCH.stop_below_noise,
    ) -> SearchResult:
        """Ask, measure and tell until there are `evaluations` records, those told before included.

        Args:
            measure: Measures one allocation, such as `ShortFineTune`; a failed record is told like any other,
                and the search goes on.
            evaluations: Records to reach.
            batch: Allocations proposed at a time.
            on_record: Called with each new record after it is told.
            stop_below_noise: See `run_batches`.

        Raises:
            InputError: If `evaluations` or `batch` is less than 1.
            RankAdaptorError: If every fine-tune failed.
        """
        earlier = len(self._records)
        label = "search" if not earlier else f"search (after {earlier} earlier)"
        with Progress(label, max(evaluations - earlier, 0), interval=0.0) as progress:

            def follow(records: Sequence[Record]) -> None:
                for record in records:
                    if on_record is not None:
                        on_record(record)
                progress.advance(len(records), note=describe_best(self.space, self._history))

            self.run_batches(
                lambda allocations: [measure(allocation) for allocation in allocations],
                evaluations=evaluations,
                batch=batch,
                on_records=follow,
                stop_below_noise=stop_below_noise,
            )
        return self.result()

    def run_batches(
        self,
        measure: Callable[[Sequence[Allocation]], Sequence[Record]],
        *,
        evaluations: int,
        batch: int = SEARCH.batch,
        on_records: Callable[[Sequence[Record]], object] | None = None,
        stop_below_noise: bool = SEARCH.stop_below_noise,
        until: Callable[[Search], bool] | None = None,
    ) -> None:
        """Ask for batches, have them measured and tell the records: the loop of every search.

        Args:
            measure: Measures several allocations, side by side or not; one record each, in order.
            evaluations: Records to reach, those told before included.
            batch: Allocations proposed at a time.
            on_records: Called with the records of each batch after they are told.
            stop_below_noise: End early once the search is `exhausted`. The noise is that of the runs it is
                told: gains that grow with the length of a run may be given up too early.
            until: Asked before each batch; True ends the loop.

        Raises:
            InputError: If `evaluations` or `batch` is less than 1, or there is no allocation but uniform.
        """
        if evaluations < 1 or batch < 1:
            raise InputError(f"evaluations={evaluations}, batch={batch}: at least 1 each.")
        while len(self._records) < evaluations:
            if until is not None and until(self):
                break
            if stop_below_noise and self.exhausted:
                logger.info("search: stopped, no allocation promises more than the noise")
                break
            try:
                asked = self.ask(min(batch, evaluations - len(self._records)))
            except InputError as error:
                if not self._records:
                    raise
                logger.info("search: stopped, %s", error)  # a small space is measured whole
                break
            records = measure(asked)
            self.tell(records)
            if on_records is not None:
                on_records(records)

    def result(self) -> SearchResult:
        """Return the best measured allocation in the predictor's judgement, and everything behind it.

        Raises:
            RankAdaptorError: If there are no records, or no fine-tune succeeded.
        """
        usable = self._usable(whole=True)
        if not usable:
            raise explain_no_result(self._records)
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
        if self._refinement is not None:
            return self._refinement.propose(
                self.space, predictor, parents=self._choose_parents(), seen=seen,
                candidates=self._candidates, early=self._early, turn=turn, seed=seed,
            )  # fmt: skip
        if self.proposal == "random":
            pool = drop_seen(self.space.sample_choices(self._candidates, seed), seen)
            return tuple(pool[0].tolist()) if len(pool) else None
        pool = self._draw_pool(seen, seed=seed)
        if not len(pool):
            return None
        incumbent = find_incumbent(self.space, predictor, self._usable(), floor=self._floor)
        return climb(
            pool,
            lambda choices: self._rate(predictor, choices, incumbent, draw=seed),
            lambda best, number: breed(
                self.space, best, count=max(self._candidates // (5 * ROUNDS), 2), seed=seed + number + 2
            ),
            seen=seen,
        )

    def _rate(
        self, predictor: Predictor, choices: Ints, incumbent: float, *, draw: int
    ) -> NDArray[np.float64]:
        return self._choose_score()(predictor.predict(self.space, choices), incumbent, draw)

    def _choose_score(self) -> Score:
        """Return the score to choose by, which is the mean alone where a trained predictor begins.

        Its uncertainty is largest for the allocations that it expects to lose most. A score that rewards
        uncertainty would propose these first, and a short search cannot afford them (`docs/decisions/0020`).
        """
        return score_mean if self._early and self.proposal in UNSURE else self._score

    @property
    def _early(self) -> bool:
        return self.predictor.pretrained and len(self._usable()) < self.mean_until

    def _draw_pool(self, seen: Iterable[tuple[int, ...]], *, seed: int) -> Ints:
        parents = self._choose_parents()
        left_out = set(seen)
        if self.proposal == "evolutionary":
            bred = drop_seen(breed(self.space, parents, count=self._candidates, seed=seed), left_out)
            if len(bred):
                return bred
        return draw_candidates(self.space, count=self._candidates, parents=parents, seen=left_out, seed=seed)

    def _choose_parents(self) -> Ints:
        return choose_parents(self.space, self.conditioned, self._usable(), first=self._floor is not None)

    def _imagine(self, chosen: list[tuple[int, ...]]) -> Predictor:
        """Condition on the proposals of this batch as if they had the gains that are predicted."""
        means = self.conditioned.predict(self.space, np.asarray(chosen, dtype=np.int64)).mean
        imagined = imagine_records(self.space, self._records, chosen, means.tolist())
        return self.predictor.update(self.space, [*self._records, *imagined])

    def _predict_before(self, records: tuple[Record, ...]) -> Prediction | None:
        informed = self.predictor.pretrained or self._usable()
        return self.conditioned.predict(self.space, self._find_choices(records)) if informed else None

    def _usable(self, *, whole: bool = False) -> list[tuple[int, ...]]:
        """Distinct allocations with at least one good record, in the order told.

        With `whole`, slices that were measured on fewer tokens than others are left out.
        """
        usable = list_usable(self._records, whole=whole)
        return [self.space.find_choices(values) for values in usable]

    def _seen(self) -> set[tuple[int, ...]]:
        return {self.space.origin, *(self.space.find_choices(record.values) for record in self._records)}

    def _find_choices(self, records: Sequence[Record]) -> Ints:
        return np.asarray([self.space.find_choices(record.values) for record in records], dtype=np.int64)

    def _draw_seed(self, turn: int, *, told: bool = True) -> int:
        state = np.random.SeedSequence([self.seed, len(self._records) if told else 0, turn]).generate_state(1)
        return int(state[0])
