from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from rankadaptor.components.composition import LiveModel, build_space
from rankadaptor.corpus import RecordFile
from rankadaptor.data.row import IGNORED
from rankadaptor.data.sequences import TokenSequence
from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.measure import SliceScore
from rankadaptor.model import digest_model
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation
from tests.measure.slices import ViewedModel, draw_sequences, make_space

COMPUTE = Compute(device="cpu", dtype="float32", threads=1, reason="tests")
FIRST = [
    (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0), (0, 2, 1, 1),
    (1, 2, 1, 2),
]  # fmt: skip


def build(live, sequences=None, **options):
    settings = {"compute": COMPUTE, "batch_tokens": 32} | options
    return SliceScore(live, draw_sequences() if sequences is None else sequences, **settings)


def score_plainly(live, allocation, sequences):
    """KL and loss from the logits of the model's own forward."""
    model = live.model
    kl, loss, count = 0.0, 0.0, 0
    with torch.no_grad():
        for sequence in sequences:
            ids, labels = torch.tensor([sequence.input_ids]), torch.tensor(sequence.labels[1:])
            dense = model(ids).logits[0, :-1].double().log_softmax(-1)
            with live.applied(allocation):
                mine = model(ids).logits[0, :-1].double().log_softmax(-1)
            counted = labels != IGNORED
            kl += float((dense.exp() * (dense - mine)).sum(-1)[counted].sum())
            loss += float(F.nll_loss(mine[counted], labels[counted], reduction="sum"))
            count += int(counted.sum())
    return kl / count, loss / count


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    ],
)
def test_a_score_is_the_divergence_of_the_models_own_logits(pico_model, family, options):
    live = ViewedModel(pico_model(family, 3, **options))
    before = digest_model(live.model)
    space, sequences = make_space(live.model), draw_sequences(3)
    prompted = [
        dataclasses.replace(s, labels=(IGNORED,) * 5 + s.labels[5:]) for s in draw_sequences(2, 12, seed=1)
    ]
    score = build(live, sequences + prompted)
    allocations = [space.from_choices(choices) for choices in FIRST]
    dense_loss = score_plainly(live, space.reference(), score.sequences)[1]
    for allocation, record in zip(allocations, score.measure(allocations), strict=True):
        kl, loss = score_plainly(live, allocation, sequences + prompted)
        assert record.kl == pytest.approx(kl, abs=2e-6)
        assert record.loss == pytest.approx(loss, abs=2e-6)
        assert record.loss_reference == pytest.approx(dense_loss)
        assert record.gain == -record.kl
        assert (record.status, record.source, record.steps, record.fidelity) == ("ok", "slice", 0, 1.0)
        assert record.costs["bytes"] == allocation.cost("bytes")
        assert len(record.sequence_losses) == 5
    assert score.measure(allocations[:1])[0].kl == 0.0
    assert digest_model(live.model) == before


def test_shared_blocks_change_costs_and_never_a_score(pico_model):
    live = ViewedModel(pico_model("llama", 3, tie_word_embeddings=True))
    space = make_space(live.model)
    sequences = draw_sequences()
    allocations = [space.from_choices(c) for c in itertools.product((0, 1), (0, 1, 2), (0, 2), (0, 1))]
    alone = [build(live, memory=0)(allocation) for allocation in allocations]
    small = 5 * len(sequences) * 16 * 32 * 4 // 2  # room for two sets of hidden states
    for memory in (1 << 30, small, 0):
        together = build(live, memory=memory).measure(allocations)
        assert [record.metrics for record in together] == [record.metrics for record in alone]
        assert [r.sequence_losses for r in together] == [r.sequence_losses for r in alone]
    whole, none = (sum(r.tokens for r in build(live, memory=m).measure(allocations)) for m in (1 << 30, 0))
    assert whole < 0.75 * none


def test_few_tokens_are_the_beginning_of_more_and_are_not_computed_again(pico_model, tmp_path):
    live = ViewedModel(pico_model("llama", 3))
    space = make_space(live.model)
    allocations = [space.from_choices(choices) for choices in FIRST]
    score = build(live, records=RecordFile(tmp_path / "records.jsonl"))
    few = score.measure(allocations, tokens=20)
    assert all(record.fidelity == 30 / 90 for record in few)
    more = score.measure(allocations[2:])
    assert all(record.fidelity == 1.0 for record in more)
    assert [record.metrics for record in more] == [r.metrics for r in build(live).measure(allocations[2:])]
    assert sum(r.tokens for r in more) < sum(r.tokens for r in build(live).measure(allocations[2:]))
    assert few[2].sequence_losses == more[0].sequence_losses[:2]
    assert few[2].metrics == build(live, draw_sequences()[:2])(allocations[2]).metrics
    again = score.measure(allocations, tokens=32)
    assert again == few
    assert len(RecordFile(tmp_path / "records.jsonl")) == len(few) + len(more)
    for tokens in (0, 97):
        with pytest.raises(InputError, match=rf"tokens={tokens}: the sequences hold 96.*from 1 to 96"):
            score.measure(allocations, tokens=tokens)


def test_a_file_answers_for_the_same_model_text_and_slots_alone(pico_model, tmp_path):
    path = tmp_path / "records.jsonl"
    live = ViewedModel(pico_model("llama", 3))
    space = make_space(live.model)
    allocation = space.from_choices((0, 1, 0, 1))
    first = build(live, records=RecordFile(path))(allocation)
    entered = live.entered
    other_limit = make_space(live.model, limit=70_000).from_choices((0, 1, 0, 1))
    assert build(live, records=RecordFile(path))(allocation) == first
    assert build(live, records=RecordFile(path))(other_limit) == first
    assert live.entered == entered
    build(live, draw_sequences(seed=1), records=RecordFile(path))(allocation)
    build(ViewedModel(pico_model("llama", 3, seed=1)), records=RecordFile(path))(allocation)
    build(live, records=RecordFile(path), setting="mine")(allocation)
    assert len({record.setting for record in RecordFile(path).records}) == 4


def test_a_score_that_is_not_finite_is_a_failed_record(pico_model, tmp_path):
    live = ViewedModel(pico_model("llama", 3))
    space = make_space(live.model)

    class Broken(ViewedModel):
        def applied(self, allocation):
            scale = torch.inf if allocation.choices[2] else 1.0
            context = super().applied(allocation)
            self.model.model.norm.weight.data = torch.full((32,), scale)
            return context

    score = build(Broken(live.model), records=RecordFile(tmp_path / "records.jsonl"))
    bad, good = score.measure([space.from_choices(c) for c in ((0, 0, 1, 0), (0, 0, 0, 1))])
    assert bad.status == "failed"
    assert "not finite" in bad.error
    assert bad.gain is None
    assert good.status == "ok"
    assert score.find(space.from_choices((0, 0, 1, 0))) == bad
    with torch.no_grad():
        live.model.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"dense model.*layers\.1\.mlp\.up_proj"):
        build(live)(space.reference())


def test_sequences_that_cannot_be_scored_are_refused(pico_model):
    live = ViewedModel(pico_model("llama", 2))
    with pytest.raises(InputError, match=r"no sequences.*at least one window"):
        build(live, [])
    with pytest.raises(InputError, match=r"sequence 1 \(1 tokens\) has no token to predict"):
        build(live, [*draw_sequences(1), TokenSequence((3,), (3,))])
    with pytest.raises(InputError, match=r"token id 128.*128 rows.*own tokenizer"):
        build(live, [TokenSequence((3, 128), (3, 128))])
    one, other = make_space(live.model), make_space(pico_model("llama", 3))
    with pytest.raises(InputError, match="different spaces"):
        build(live).measure([one.reference(), other.reference()])


def test_bfloat16_stays_near_float32(pico_model):
    live = ViewedModel(pico_model("llama", 3))
    space = make_space(live.model)
    allocation = space.from_choices((0, 2, 2, 2))
    exact = build(live)(allocation)
    rounded = build(live, compute=dataclasses.replace(COMPUTE, dtype="bfloat16"))
    assert rounded(space.reference()).kl == 0.0
    assert rounded(allocation).kl == pytest.approx(exact.kl, rel=0.05, abs=2e-3)


def test_widths_depth_and_types_of_a_live_model_score_as_the_extracted_model(pico_model):
    model = pico_model("qwen3", 2, tie_word_embeddings=False)
    live, space = LiveModel(model, importance="l2"), build_space(model, precision=("Q8_0", "F16"))
    sequences = draw_sequences(4)
    sweep = [space.origin]
    for place, slot in enumerate(space.slots):
        sweep += [
            (*space.origin[:place], choice, *space.origin[place + 1 :])
            for choice in range(len(slot.options))
            if choice != space.origin[place]
        ]
    allocations = [Allocation(choices, space) for choices in sweep]
    score = build(live, sequences)
    records = score.measure(allocations)
    alone = build(live, sequences, memory=0).measure(allocations)
    assert [record.metrics for record in records] == [record.metrics for record in alone]
    assert sum(record.tokens for record in records) < 0.85 * sum(record.tokens for record in alone)
    ids = torch.tensor([sequence.input_ids for sequence in sequences])
    with torch.no_grad():
        for allocation, record in list(zip(allocations, records, strict=True))[::5]:
            small, _ = live.extract(allocation, rounded=True)
            logs = small(ids).logits[:, :-1].flatten(0, 1).log_softmax(-1)
            assert record.loss == pytest.approx(float(F.nll_loss(logs, ids[:, 1:].flatten())), abs=1e-5)
    # Another order of the channels is another setting.
    other = build(LiveModel(model, importance="random", seed=3), sequences)
    assert other.name_setting(space) != score.name_setting(space)
