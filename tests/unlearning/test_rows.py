"""Rows keep their order and their weights, however they are combined and cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from app.unlearning.rows import (
    Batch,
    CappedRows,
    Rows,
    TensorRows,
    WeightedRows,
    concatenate,
    empty,
    gathered,
    stream,
)


def _rows(count: int, first: int = 0, *, weights: bool = False) -> TensorRows:
    inputs = torch.arange(first, first + count, dtype=torch.float64)[:, None]
    return TensorRows(inputs, inputs[:, 0].long(), inputs[:, 0] + 1 if weights else None)


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), max_size=4),
    size=st.integers(1, 7),
    weights=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_streaming_gives_every_row_once_in_order(
    sizes: list[int], size: int, weights: list[bool]
) -> None:
    parts = [_rows(count, sum(sizes[:i]), weights=weights[i]) for i, count in enumerate(sizes)]
    rows = concatenate(*parts)
    batches = list(rows.batches(size))
    assert all(1 <= len(batch) <= size for batch in batches)
    seen = [int(target) for batch in batches for target in batch.targets]
    assert seen == list(range(sum(sizes)))
    assert len(rows) == sum(sizes)
    total = sum(batch.total_weight() for batch in batches)
    expected = sum(
        float(part.weights.sum()) if part.weights is not None else len(part) for part in parts
    )
    assert total == pytest.approx(expected)


@settings(deadline=None)
@given(order=st.permutations(range(7)), keep=st.integers(1, 7))
def test_taking_respects_the_order_asked_for(order: list[int], keep: int) -> None:
    rows = concatenate(_rows(3), _rows(4, 3, weights=True))
    positions = torch.tensor(order[:keep])
    taken = rows.take(positions)
    assert taken.targets.tolist() == order[:keep]
    assert taken.inputs[:, 0].tolist() == order[:keep]
    expected = [1.0 if p < 3 else p + 1.0 for p in order[:keep]]
    weights = torch.ones(keep) if taken.weights is None else taken.weights
    assert_close(weights.double(), torch.tensor(expected, dtype=torch.float64))


def test_gathered_rows_are_the_same_rows_in_one_piece() -> None:
    rows = concatenate(WeightedRows(_rows(5), 2.5), _rows(4, 5))
    positions = torch.tensor([8, 0, 3, 5])
    one, other = gathered(rows, 2).take(positions), rows.take(positions)
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.targets, other.targets)
    assert one.weights is not None
    assert other.weights is not None
    assert torch.equal(one.weights, other.weights)
    assert gathered(_rows(3)).weights is None


def test_weighting_multiplies_every_row() -> None:
    rows = WeightedRows(_rows(4), 2.5)
    assert next(rows.batches(4)).total_weight() == pytest.approx(10.0)
    assert rows.take(torch.tensor([1, 2])).total_weight() == pytest.approx(5.0)
    assert len(rows) == 4


def test_no_rows_are_rows_too() -> None:
    rows = empty()
    assert isinstance(rows, Rows)
    assert len(rows) == 0
    assert list(rows.batches(3)) == []
    assert len(rows.take(torch.empty(0, dtype=torch.int64))) == 0
    with pytest.raises(IndexError):
        rows.take(torch.tensor([0]))


def test_positions_outside_are_refused() -> None:
    rows = concatenate(_rows(2), _rows(2, 2))
    for wrong in (-1, 4):
        with pytest.raises(IndexError):
            rows.take(torch.tensor([wrong]))


def test_a_stream_leaves_out_empty_batches() -> None:
    nothing = Batch(torch.empty(0, 1), torch.empty(0, dtype=torch.int64))
    batches = list(_rows(5).batches(2))
    assert [len(b) for b in stream([nothing, *batches, nothing], 99)] == [2, 2, 1]
    assert [len(b) for b in stream(_rows(5), 3)] == [3, 2]


def test_parts_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        TensorRows(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="at least one row"):
        next(_rows(3).batches(0))


def test_capped_rows_stream_the_same_rows_in_smaller_batches() -> None:
    capped = CappedRows(_rows(7), 3)
    assert [len(batch) for batch in capped.batches(100)] == [3, 3, 1]
    assert [len(batch) for batch in capped.batches(2)] == [2, 2, 2, 1]
    seen = torch.cat([batch.targets for batch in capped.batches(100)])
    assert seen.tolist() == list(range(7))
    assert len(capped.take(torch.arange(7))) == len(capped) == 7
