"""A search that measures allocations on the predicted front of gain against parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.smaller.sizes import LOWEST_SHARE
from rankadaptor.errors import InputError
from rankadaptor.search import Search
from rankadaptor.search.front import Front, find_front

if TYPE_CHECKING:
    from rankadaptor.space import Allocation

GENERATIONS = 50
CAUTION = 0.5  # standard deviations that are subtracted from a prediction when the front is drawn


class FrontSearch(Search):
    """Proposes random members of the predicted front that have not been measured."""

    def ask(self, count: int = 1) -> list[Allocation]:
        """Propose up to `count` allocations of the front.

        Raises:
            InputError: If every allocation of the front has been measured.
        """
        front = self.find_front(seed=self.seed + len(self.records))
        measured = {record.values for record in self.records}
        fresh = [each for each in front.allocations if each.values not in measured and is_usable(each)]
        if not fresh:
            raise InputError("all allocations of the front are measured.")
        size = min(count, len(fresh))
        places = np.random.default_rng([self.seed, len(self.records)]).permutation(len(fresh))[:size]
        return [fresh[int(place)] for place in places]

    def find_front(self, *, seed: int) -> Front:
        """Return the front that the predictor expects after all records."""
        usable = dict.fromkeys(record.values for record in self.records if record.gain is not None)
        start = [self.space.allocation(values) for values in usable]
        return find_front(
            self.space, self.conditioned, seed=seed, generations=GENERATIONS, caution=CAUTION, start=start
        )


def is_usable(allocation: Allocation) -> bool:
    """Tell whether an allocation has at least `LOWEST_SHARE` of the budget."""
    return allocation.cost() >= LOWEST_SHARE * allocation.space.bounds[0]
