"""The methods on language models: tied weights, and outputs that come in a record."""

from dataclasses import replace

import pytest
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Rows, TensorRows
from app.unlearning.selection import last_layer
from app.unlearning.training import train
from app.unlearning.update import JSON, apply_update, changed_scalars
from tests.unlearning.curvature.language_models import LANGUAGE_MODELS, gpt2, transformer

METHODS: dict[str, tuple[str, dict[str, JSON]]] = {
    "influence": ("influence", {"max_products": 3}),
    "influence, lissa": ("influence", {"solver": "lissa", "recursions": 5}),
    "saps": ("saps", {}),
    "sparse_newton, block": ("sparse_newton", {"iterations": 2}),
    "sparse_newton, lbfgs": ("sparse_newton", {"solver": "lbfgs", "iterations": 3}),
    "sparse_newton, adam": ("sparse_newton", {"solver": "adam", "iterations": 5}),
    "fine_tune": ("fine_tune", {"epochs": 3.0}),
    "shrinking_mask": ("shrinking_mask", {"steps": 20}),
    "random_mask": ("random_mask", {}),
    "last_layer": ("last_layer", {}),
}


def problem_of(name: str) -> Problem:
    """Four texts were learned with other next words than they should have been."""
    case = transformer(name, rows=20)
    # What a correction adds to the gradient leads downhill only from where the network has learned.
    train(case.model, case.rows, case.objective, Recipe("lbfgs", 1.0, batch_size=20, epochs=20))
    inputs, targets = case.rows.inputs, case.rows.targets

    def rows(start: int, stop: int, labels: Tensor = targets) -> Rows:
        return TensorRows(inputs[start:stop], labels[start:stop])

    corrected = targets.clone()
    corrected[:4] = (targets[:4].clamp(min=0) + 1) % 7
    return Problem(
        case.model,
        case.objective,
        "label_correction",
        forget=rows(0, 4),
        replacement=rows(0, 4, corrected),
        retained=rows(4, 20),
        retained_total=16,
    )


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_a_language_model_is_corrected(name: str, method: str) -> None:
    problem = problem_of(name)
    registered, parameters = METHODS[method]

    update = make_method(registered, parameters).unlearn(problem)

    result = apply_update(problem.model, update)
    assert 0 < changed_scalars(problem.model, result) <= update.selected
    before, after = (
        EditedLoss(replace(problem, model=model)).loss({}) for model in (problem.model, result)
    )
    assert after < before
    # What was one tensor under two names still is: a copy would have changed one of the two.
    storages = [len({p.data_ptr() for p in m.parameters()}) for m in (problem.model, result)]
    assert storages[0] == storages[1]
    names = [len(list(m.named_parameters(remove_duplicate=False))) for m in (problem.model, result)]
    assert names[0] == names[1]


@pytest.mark.parametrize("name", ["tied gpt", "gpt2 of hugging face"])
def test_the_last_layer_of_a_tied_network_is_its_embedding_too(name: str) -> None:
    model = transformer(name).model
    selection = last_layer(model)
    assert selection.count == 7 * 4
    (chosen,) = selection.names
    assert chosen in ("tokens.weight", "transformer.wte.weight")


def test_a_record_of_outputs_is_trained_on() -> None:
    problem = problem_of("gpt2 of hugging face")
    retained = problem.retained
    problem = replace(
        problem,
        recipe=Recipe("sgd", 0.1, batch_size=20, epochs=2),
        full_retained=lambda: retained,
        build=gpt2,
    )
    update = make_method("retrain", {}).unlearn(problem)
    again = make_method("retrain", {}).unlearn(replace(problem, model=gpt2().double().eval()))
    # Whatever the network at hand is, training afresh does not read it.
    for key, value in update.values.items():
        assert_close(value, again.values[key], rtol=0.0, atol=0.0)
