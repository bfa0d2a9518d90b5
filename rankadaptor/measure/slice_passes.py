"""Forward passes of slices that share the hidden states of common leading blocks."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.data.sequences import TokenSequence
from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.measure.block_passes import BlockPasses
from rankadaptor.measure.dense_targets import OutputHeads, score_tokens
from rankadaptor.measure.prefix_plan import PlannedPass, find_shared, plan_passes, spread_depths
from rankadaptor.measure.slice_batches import BatchScore, SliceSums, make_batches, sum_batch
from rankadaptor.model.families import describe_linears, find_family
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.space import Allocation
from rankadaptor.training.loss import choose_autocast, place

if TYPE_CHECKING:
    from rankadaptor.measure.live_slices import LiveSlices
    from rankadaptor.runtime import Compute
    from rankadaptor.space.allocation import SlotSpace

MEMORY = 1 << 30
ORIGIN_SHARE = 0.75  # of the memory, where it does not hold the origin's states at every block
States = dict[int, list[torch.Tensor]]
"""Hidden states of every batch by depth: the number of blocks that have computed them."""


class SliceEngine:
    """Computes scores of allocations of one model on fixed sequences; see `SliceScore`."""

    def __init__(
        self,
        live: LiveSlices,
        sequences: Sequence[TokenSequence],
        *,
        compute: Compute,
        batch_tokens: int,
        memory: int,
    ) -> None:
        self.live, self.compute, self.memory = live, compute, memory
        compute.apply()
        place(live.model, compute)
        self.passes = BlockPasses(live.model)
        self.blocks = self.passes.count
        self.batches = make_batches(
            sequences,
            batch_tokens=batch_tokens,
            device=compute.device,
            rows=int(live.model.get_input_embeddings().weight.shape[0]),
        )
        head = live.model.get_output_embeddings()
        if getattr(head, "bias", None) is not None:
            raise InputError(
                "the output head has a bias, which slice scores do not support. Choose a model of the "
                "supported families, whose heads have none."
            )
        self.heads = OutputHeads(head.weight.detach())
        self._weights = count_weights(live.model)
        self._dense: list[BatchScore] = []
        self._scores: dict[tuple[object, ...], list[BatchScore]] = defaultdict(list)
        self._origin: tuple[object, ...] = ()
        self._origin_states: States = {}
        self._spent = 0.0

    def count_batches(self, tokens: int | None) -> int:
        """Return how many leading batches hold at least so many tokens.

        Raises:
            InputError: If all of them hold fewer, or the number is not positive.
        """
        if tokens is None:
            return len(self.batches)
        total = sum(batch.ids.numel() for batch in self.batches)
        if not 1 <= tokens <= total:
            raise InputError(
                f"tokens={tokens}: the sequences hold {total}. Give a number from 1 to {total}, None for "
                "all, or more text."
            )
        count = held = 0
        while held < tokens:
            held += self.batches[count].ids.numel()
            count += 1
        return count

    def compute_share(self, batches: int) -> float:
        """Return the share of all predicted tokens that lies in the first batches."""
        counts = [len(batch.tokens) for batch in self.batches]
        return sum(counts[:batches]) / sum(counts)

    def score(
        self, allocations: Sequence[Allocation], *, batches: int
    ) -> Iterator[tuple[Allocation, SliceSums]]:
        """Yield the score of each allocation over the first batches, in the order of computation."""
        if not allocations:
            return
        self.compute.apply()
        space = allocations[0].space
        with self._evaluating():
            self._score_dense(batches)
            self._keep_origin(space, allocations, batches)
            groups: dict[int, list[Allocation]] = defaultdict(list)
            for allocation in allocations:
                groups[len(self._scores[_name(allocation)])].append(allocation)
            for begun, group in sorted(groups.items(), reverse=True):
                for allocation in self._run_group(group, range(begun, batches)):
                    spent, self._spent = self._spent, 0.0
                    yield (
                        allocation,
                        SliceSums.of_batches(
                            self._scores[_name(allocation)][:batches],
                            self._dense[:batches],
                            tokens=round(spent),
                        ),
                    )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self.live.model.training
        self.live.model.eval()
        try:
            yield
        finally:
            self.live.model.train(training)

    def _score_dense(self, batches: int) -> None:
        """Pass the dense model over the batches that it has not seen."""
        with torch.no_grad(), choose_autocast(self.compute):
            for targets in self.batches[len(self._dense) : batches]:
                hidden = self.passes.run(
                    self.passes.embed(targets.ids), targets.ids, first=0, last=self.blocks
                )
                losses = self.heads.learn_dense(targets, targets.pick(self.passes.finish(hidden)))
                score = sum_batch(targets, torch.zeros_like(losses), losses)
                self._spend(targets.ids.numel(), blocks=range(self.blocks), heads=3)
                if not all(map(math.isfinite, score.losses)):
                    reason = explain_nonfinite_loss(self.live.model, targets.ids)
                    raise NonFiniteError(f"The dense model's loss is not finite. {reason}")
                self._dense.append(score)

    def _keep_origin(self, space: SlotSpace, allocations: Sequence[Allocation], batches: int) -> None:
        """Compute the hidden states of the space's first reference where they save more than they cost."""
        origin = Allocation(choices=space.origin, space=space)
        name = _name(origin)
        depths = self._find_depths(space)
        begun = 0
        if name == self._origin and self._origin_states:
            begun = min(len(states) for states in self._origin_states.values())
        wanted = [
            find_shared(each.choices, space.origin, depths, blocks=self.blocks) / self.blocks
            for each in allocations
        ]
        if begun >= batches or (sum(wanted) < 1.0 and origin not in allocations):
            return
        if begun == 0:
            room = self._count_room()
            enough = room > self.blocks
            kept = spread_depths(self.blocks, room=self.blocks if enough else int(room * ORIGIN_SHARE))
            self._origin, self._origin_states = name, {depth: [] for depth in kept}
        if self._origin_states:
            step = PlannedPass(0, 0, from_origin=False, drops=(), saves=tuple(self._origin_states))
            self._run(origin, range(begun, batches), step, given=[], saved=self._origin_states)

    def _run_group(self, allocations: Sequence[Allocation], window: range) -> Iterator[Allocation]:
        """Score allocations on a window of the batches and yield each when it is done."""
        if not window or not allocations:
            yield from allocations
            return
        space = allocations[0].space
        kept = self._origin_states if self._origin[:1] == _name(allocations[0])[:1] else {}
        kept = {depth: states for depth, states in kept.items() if len(states) >= window.stop}
        planned = plan_passes(
            [allocation.choices for allocation in allocations],
            depths=self._find_depths(space),
            blocks=self.blocks,
            origin=space.origin,
            kept=kept,
            room=max(self._count_room() - len(self._origin_states), 0),
        )
        saved: States = {}
        for step in planned:
            for depth in step.drops:
                del saved[depth]
            given: Sequence[torch.Tensor] = ()
            if step.start:
                given = kept[step.start][window.start :] if step.from_origin else saved[step.start]
            saved |= {depth: [] for depth in step.saves}
            self._run(allocations[step.place], window, step, given=given, saved=saved)
            yield allocations[step.place]

    def _run(
        self,
        allocation: Allocation,
        window: range,
        step: PlannedPass,
        *,
        given: Sequence[torch.Tensor],
        saved: States,
    ) -> None:
        """Pass an allocation over batches, from hidden states that are there already."""
        scores = self._scores[_name(allocation)]
        with self.live.applied(allocation), torch.no_grad(), choose_autocast(self.compute):
            weight = self.live.model.get_output_embeddings().weight.detach()
            number = self.heads.find(weight)
            for place, index in enumerate(window):
                targets = self.batches[index]
                hidden = given[place] if step.start else self.passes.embed(targets.ids)
                known = index < len(scores)
                ends = sorted({*step.saves, *([] if known else [self.blocks])})
                for first, last in itertools.pairwise([step.start, *ends]):
                    hidden = self.passes.run(hidden, targets.ids, first=first, last=last)
                    if last in step.saves:
                        saved[last].append(hidden)
                    self._spend(targets.ids.numel(), blocks=range(first, last))
                if known:
                    continue
                learned = self.heads.learn_head(targets, weight, number)
                picked = targets.pick(self.passes.finish(hidden))
                scores.append(sum_batch(targets, *score_tokens(targets, picked, weight, number)))
                self._spend(targets.ids.numel(), heads=3 if learned else 1)

    def _find_depths(self, space: SlotSpace) -> list[int]:
        return find_depths(space, self.live.model, blocks=self.blocks)

    def _count_room(self) -> int:
        """Return how many sets of hidden states the memory holds."""
        tokens = sum(batch.ids.numel() for batch in self.batches)
        size = self.live.model.config.hidden_size * self.live.model.get_input_embeddings().weight.itemsize
        return int(self.memory // (tokens * size))

    def _spend(self, tokens: int, *, blocks: range = range(0), heads: int = 0) -> None:
        linears, head = self._weights
        spent = sum(linears[block] for block in blocks) + heads * head
        self._spent += tokens * spent / (sum(linears) + head)


def count_weights(model: Any) -> tuple[list[int], int]:
    """Return the weights of the linears of each block, and those of the output head."""
    blocks: dict[int, int] = defaultdict(int)
    for linear in describe_linears(model):
        blocks[linear.block] += linear.in_features * linear.out_features
    return [blocks[index] for index in sorted(blocks)], model.get_output_embeddings().weight.numel()


def find_depths(space: SlotSpace, model: Any, *, blocks: int) -> list[int]:
    """Return, for every slot, how many leading blocks compute the same whatever the slot's option is.

    It follows from the slot's modules. A slot that names no module counts as if it changed the embedding.
    """
    prefix = f"{find_family(model).blocks}."
    separate = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    heads = {name for name, module in model.named_modules() if module is model.get_output_embeddings()}

    def find(module: str) -> int:
        if module.startswith(prefix):
            return int(module.removeprefix(prefix).split(".")[0])
        return blocks if separate and module in heads else 0

    return [min(map(find, slot.modules), default=0) for slot in space.slots]


def _name(allocation: Allocation) -> tuple[object, ...]:
    """Return what tells an allocation apart; the first part tells its slots apart."""
    slots = tuple((slot.name, slot.options) for slot in allocation.space.slots)
    return slots, allocation.choices
