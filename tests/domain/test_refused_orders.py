"""Orders that do not fit are refused and leave nothing behind."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.actions import datasets, intake
from app.domain.errors import Conflict, Refused
from app.domain.orders import (
    Correction,
    CorrectionOrder,
    DatasetOrder,
    FeatureRemoval,
)
from app.domain.requests import Request
from app.infra.db import writing
from tests import builders as make


@pytest.mark.parametrize(
    ("order", "pointer", "code"),
    [
        ({}, "", "empty-request"),
        ({"sample_ids": ("a",), "regulation": "lgpd"}, "/regulation", "unknown-regulation"),
        ({"labels": (1, "one")}, "/labels/1", "wrong-type"),
        ({"sample_ids": ("a", "\ud800")}, "/sample_ids/1", "wrong-character"),
        ({"sample_ids": ("a",), "reference": "x\0"}, "/reference", "wrong-character"),
    ],
)
def test_a_deletion_that_does_not_fit_is_refused_with_its_pointer(
    sqlite_home: Path, order: dict, pointer: str, code: str
) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    with pytest.raises(Refused) as refused:
        make.delete(tenant, dataset, *order.pop("sample_ids", ()), **order)
    assert refused.value.code == code
    assert [error.pointer for error in refused.value.errors] == [pointer]
    with writing() as tx:
        assert tx.scalars(select(Request)).all() == []


@pytest.mark.parametrize(
    ("order", "pointer", "code"),
    [
        ({}, "", "empty-request"),
        ({"corrections": (Correction("s0"),)}, "/corrections/0", "empty-correction"),
        (
            {"corrections": (Correction("s0", label="x"),)},
            "/corrections/0/label",
            "wrong-type",
        ),
        (
            {"corrections": (Correction("s0", features={"a/b": 1}),)},
            "/corrections/0/features/a~1b",
            "unknown-column",
        ),
        (
            {"corrections": (Correction("s0", features={"person": "p"}),)},
            "/corrections/0/features/person",
            "role-column",
        ),
        (
            {"feature_removal": FeatureRemoval(("age", "height"))},
            "/feature_removal/columns/1",
            "unknown-column",
        ),
        (
            {"feature_removal": FeatureRemoval(("age",), value="old")},
            "/feature_removal/value",
            "wrong-type",
        ),
    ],
)
def test_a_correction_that_does_not_fit_is_refused_with_its_pointer(
    sqlite_home: Path, order: dict, pointer: str, code: str
) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    with pytest.raises(Refused) as refused, writing() as tx:
        intake.submit_correction(tx, make.ACTOR, tenant, CorrectionOrder(dataset, **order))
    assert refused.value.code == code
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_dataset_without_content_takes_no_request(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.begin_import(tenant, dataset)
    make.delete(tenant, dataset, "s0")  # the earlier revision still serves

    with writing() as tx:
        empty = datasets.create_dataset(
            tx, make.ACTOR, tenant, DatasetOrder("empty", make.COLUMNS)
        ).id
    with pytest.raises(Conflict) as conflict:
        make.delete(tenant, empty, "s0")
    assert conflict.value.code == "dataset-not-ready"
