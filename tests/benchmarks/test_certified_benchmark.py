"""The benchmark of certified removals runs on small data of the same shape."""

from io import StringIO

import pytest
import torch
from rich.console import Console

from benchmarks import certified
from tests.benchmarks.test_service_benchmarks import write_adults

SETTING = certified.Setting(epsilon=1.0, delta=1e-5, decay=0.05, dtype=torch.float32)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[certified.Split, certified.Split]:
    folder = tmp_path_factory.mktemp("adults")
    write_adults(folder)
    return certified.read(folder / "adult.parquet", None)


def test_noise_costs_utility_and_buys_removals(
    halves: tuple[certified.Split, certified.Split],
) -> None:
    training, held_out = halves
    assert torch.allclose(training.X.norm(dim=1), torch.ones(160, dtype=torch.float64))
    costs = [certified.cost_of(SETTING, (training, held_out), noise) for noise in (0.0, 1.0, 300.0)]
    assert costs[0].utility.macro_f1 > 0.6
    assert costs[2].utility.macro_f1 < costs[0].utility.macro_f1
    for cost in costs[1:]:
        assert cost.measured <= cost.data_dependent <= cost.worst_case
    assert costs[1].limit < costs[2].limit
    console = Console(file=StringIO(), width=200, record=True)
    console.print(certified.costs_table(SETTING, costs))
    assert "macro-F1" in console.export_text()


def test_a_chain_is_watched_and_trained_again(
    halves: tuple[certified.Split, certified.Split],
) -> None:
    training, held_out = halves
    chain, last = certified.chain_of(SETTING, training, 0.05, 12)
    assert chain.broken == 0
    assert chain.removals == 12
    assert chain.retrained >= 1
    assert 0 < chain.largest_share <= 1
    assert len(last.kept) == 160 - 12 - chain.retrained
    found = certified.utility(last.model, held_out)
    console = Console(file=StringIO(), width=200, record=True)
    console.print(certified.chain_table("float32", chain, found, found))
    assert "trainings forced by the budget" in console.export_text()


def test_a_broken_bound_is_counted() -> None:
    chain = certified.Chain()
    facts = {
        "residual": 2.0,
        "residual_data_dependent_bound": 1.0,
        "residual_worst_case_bound": 3.0,
    }
    model = certified.layer_of(torch.zeros(1, 3), torch.float64)
    split = certified.Split(torch.ones(4, 2).double(), torch.ones(4).double())
    trained = certified.Trained(
        SETTING, split, 1.0, model, torch.zeros(1, 3).double(), torch.arange(4), spent=10.0
    )
    chain.watch(trained, facts)
    assert (chain.removals, chain.broken, chain.largest_share) == (1, 1, 2.0)
