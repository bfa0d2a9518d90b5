"""Measuring an allocation without training: KL divergence to the dense model and loss, by forward passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rankadaptor.corpus import Record
from rankadaptor.corpus.record import KL, LOSS, LOSS_REFERENCE, SECONDS, TOKENS
from rankadaptor.data.sequences import TokenSequence
from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest
from rankadaptor.measure.slice_passes import MEMORY, SliceEngine
from rankadaptor.model.identity import digest_model
from rankadaptor.runtime import choose_compute, find_commit
from rankadaptor.training.checkpoint import digest_sequences

if TYPE_CHECKING:
    from rankadaptor.corpus import RecordFile
    from rankadaptor.measure.live_slices import LiveSlices
    from rankadaptor.measure.slice_batches import SliceSums
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation
    from rankadaptor.space.allocation import SlotSpace


class SliceScore:
    """Score allocations of one model by its KL divergence to the dense model on fixed tokens.

    `kl` is KL(dense ‖ slice) over the whole vocabulary and `loss` the next-token loss, both in nats per token
    and averaged over all tokens that are predicted; `loss_reference` is the dense model's loss on the same
    tokens. There is no noise of a seed: on one thread a score repeats to the last bit, whatever else is
    scored with it. A score that is not finite makes a record that failed.

    Allocations that begin alike compute their common blocks once: `measure` sorts what it is given, and the
    hidden states of the space's first reference are kept at the entry of as many blocks as `memory` allows.
    That never changes a score.

    Costs: `tokens` are the tokens that were passed through the model, each counted with the share of a
    dense pass that was computed (blocks and output head by their number of weights; the head always counts).
    What several scores share, the pass of the dense model and the hidden states of the first reference, is
    counted with the record that is made next, so the records' tokens add up to all that was computed.
    `seconds` are wall time in the same sense. The space's own resources, such as `bytes`, are the
    allocation's.

    Args:
        live: The model and how allocations are applied to it. While nothing is applied it is the dense model.
        sequences: What to predict. Tokens count where they have a label.
        compute: Device, precision and threads; chosen and logged by default.
        records: File that every record is written to, and from which nothing is measured again.
        setting: Name of the setting, written into the records. Without one, the name is a digest of the
            model's weights, the sequences, the precision and the space's slots. Limits are left out: they do
            not change what an allocation scores.
        batch_tokens: Tokens of a forward pass; also the step in which `tokens` is rounded.
        memory: Bytes that kept hidden states may take.

    Raises:
        InputError: If there are no sequences, none of their tokens counts, or the model has no row for one.
    """

    def __init__(
        self,
        live: LiveSlices,
        sequences: Sequence[TokenSequence],
        *,
        compute: Compute | None = None,
        records: RecordFile | None = None,
        setting: str | None = None,
        batch_tokens: int = 1024,
        memory: int = MEMORY,
    ) -> None:
        self.live, self.records, self.setting = live, records, setting
        self.sequences = list(sequences)
        self.compute = compute if compute is not None else choose_compute()
        self.engine = SliceEngine(
            live, self.sequences, compute=self.compute, batch_tokens=batch_tokens, memory=memory
        )
        self._names: dict[str, str] = {}
        self._model_digest: str | None = None

    def __call__(self, allocation: Allocation, *, tokens: int | None = None) -> Record:
        """Score one allocation; see `measure`."""
        return self.measure([allocation], tokens=tokens)[0]

    def measure(self, allocations: Sequence[Allocation], *, tokens: int | None = None) -> list[Record]:
        """Score allocations and return their records in order.

        Args:
            allocations: Of one space; they may exceed its limits.
            tokens: Score on a leading part of the sequences alone, of at least so many tokens. Fewer tokens
                are always the beginning of more; a later call with more computes only the rest. All by
                default.

        Raises:
            InputError: If the sequences hold fewer tokens, or the allocations belong to different spaces.
            StorageError: If a record cannot be written.
        """
        batches = self.engine.count_batches(tokens)
        if len({self.name_setting(allocation.space) for allocation in allocations}) > 1:
            raise InputError("allocations of different spaces. Measure those of each space by themselves.")
        wanted = {allocation.choices: allocation for allocation in allocations}
        found: dict[tuple[int, ...], Record] = {}
        for choices, allocation in wanted.items():
            if (known := self.find(allocation, tokens=tokens)) is not None:
                found[choices] = known
        pending = [allocation for choices, allocation in wanted.items() if choices not in found]
        started = time.monotonic()
        for allocation, sums in self.engine.score(pending, batches=batches):
            now = time.monotonic()
            record = self._describe(allocation, sums, batches=batches, seconds=now - started)
            started = now
            if self.records is not None:
                self.records.append(record)
            found[allocation.choices] = record
        return [found[allocation.choices] for allocation in allocations]

    def find(self, allocation: Allocation, *, tokens: int | None = None) -> Record | None:
        """Return the stored record of an allocation, if there is one."""
        if self.records is None:
            return None
        setting, fidelity = self.name_setting(allocation.space), self.compute_fidelity(tokens)
        return self.records.find(allocation.values, 0, 0, setting=setting, fidelity=fidelity)

    def compute_fidelity(self, tokens: int | None = None) -> float:
        """Return the fidelity of records that are measured with `tokens`; see `measure`."""
        return self.engine.compute_share(self.engine.count_batches(tokens))

    def name_setting(self, space: SlotSpace) -> str:
        """Return the setting's name as records of this space bear it."""
        if self.setting is not None:
            return self.setting
        if space.digest not in self._names:
            if self._model_digest is None:
                self._model_digest = digest_model(self.live.model)
            parts = {
                "measure": "slice",
                "model": [self.live.model.config.model_type, self._model_digest, self.live.order_digest],
                "data": digest_sequences(self.sequences),
                "dtype": self.compute.dtype,
                "slots": [
                    [slot.name, slot.component, list(slot.modules), [repr(label) for label in slot.options]]
                    for slot in space.slots
                ],
            }
            self._names[space.digest] = f"unnamed-{compute_digest(parts)}"
        return self._names[space.digest]

    def _describe(self, allocation: Allocation, sums: SliceSums, *, batches: int, seconds: float) -> Record:
        fault = sums.describe_fault()
        resources = dict.fromkeys(name for slot in allocation.space.slots for name in slot.resources)
        return Record(
            setting=self.name_setting(allocation.space),
            values=allocation.values,
            source="slice",
            seed=0,
            steps=0,
            fidelity=self.engine.compute_share(batches),
            metrics={KL: sums.divergence, LOSS: sums.loss, LOSS_REFERENCE: sums.dense_loss},
            costs={
                **{name: allocation.cost(name) for name in resources},
                TOKENS: sums.tokens,
                SECONDS: seconds,
            },
            status="ok" if fault is None else "failed",
            error=fault,
            commit=find_commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sequence_losses=sums.sequence_losses if fault is None else None,
        )
