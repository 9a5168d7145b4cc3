"""The diagonals of transformers, sequences and free parameters, against the slow, obvious way."""

from functools import partial

import pytest
from torch.testing import assert_close

from app.unlearning.curvature import empirical_fisher_diagonal, ggn_diagonal, sketched_ggn_diagonal
from tests.unlearning.curvature.language_models import LENGTH, TRANSFORMERS, transformer
from tests.unlearning.curvature.oracles import dense_ggn, flatten, looped_fisher

assert_equal = partial(assert_close, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_fisher_equals_squared_gradients_of_single_rows(name: str) -> None:
    case = transformer(name, weighted=True)
    found = empirical_fisher_diagonal(case.model, case.objective, case.rows, batch_size=3)
    assert not found.fallbacks
    assert_equal(flatten(found.values), looped_fisher(case))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_ggn_equals_the_dense_matrix(name: str) -> None:
    case = transformer(name, rows=3, weighted=True)
    found = ggn_diagonal(case.model, case.objective, case.rows, batch_size=2)
    assert not found.fallbacks
    assert_equal(flatten(found.values), dense_ggn(case).diagonal())


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("size", [1, LENGTH, 2])
def test_how_rows_are_cut_into_batches_changes_nothing(name: str, size: int) -> None:
    # Batches of as many rows as there are positions, or queries, invite a confusion of axes.
    case = transformer(name, rows=7, weighted=True)
    whole = sketched_ggn_diagonal(case.model, case.objective, case.rows, batch_size=5)
    cut = sketched_ggn_diagonal(case.model, case.objective, case.rows, batch_size=size)
    assert not whole.fallbacks
    assert not cut.fallbacks
    assert_equal(flatten(cut.values), flatten(whole.values))
