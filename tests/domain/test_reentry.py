"""What was deleted or corrected does not come back, and nothing else is kept out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalog import Revision
from app.domain.orders import Correction
from app.domain.requests import Request
from app.domain.sealed_rows import corrections_of, rows_of, seal
from app.domain.suppression import canonical, digest_of
from app.infra.keys import BoxDamaged
from app.infra.rows import Overlay
from tests import builders as make

PARTS = st.lists(st.text(max_size=5), min_size=1, max_size=4)


def changed(**cells: list) -> make.Table:
    content = make.table()
    return make.Table(content.ids, content.persons, content.parts, {**content.cells, **cells})


def test_the_values_in_force_are_welcome(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.correct(tenant, dataset, Correction("s0", features={"age": 50}))
    ages = list(make.table().cells["age"])
    again = make.add_revision(tenant, dataset, changed(age=[50, *ages[1:]]))
    assert make.state(Revision, again) == "ready"
    other = make.add_revision(tenant, dataset, changed(age=[51, *ages[1:]]))
    assert make.state(Revision, other) == "ready"


def test_a_value_that_was_corrected_back_is_welcome_again(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.correct(tenant, dataset, Correction("s0", features={"age": 50}))
    make.correct(tenant, dataset, Correction("s0", features={"age": 20}))
    original = make.add_revision(tenant, dataset, make.table())
    assert make.state(Revision, original) == "ready"
    ages = list(make.table().cells["age"])
    between = make.add_revision(tenant, dataset, changed(age=[50, *ages[1:]]))
    assert make.read(Revision, between).error["values"] == 1


def test_an_old_value_stays_out_after_the_row_files_are_rewritten(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.correct(tenant, dataset, Correction("s0", features={"x": [9.0, 9.0]}))
    make.work_off()
    refused = make.add_revision(tenant, dataset, make.table())
    assert make.read(Revision, refused).error["values"] == 1
    mended = make.add_revision(tenant, dataset, make.table(), on_suppressed="drop")
    with make.rows_of(dataset, make.read(Revision, mended).number) as store:
        assert store.cells("x", np.array([0, 1])) == [[9.0, 9.0], [1.0, -1.0]]


def test_a_sample_comes_back_neither_alone_nor_with_another_person(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    make.delete(tenant, dataset, subject_ids=("s-person0",))
    content = make.table()
    renamed = make.Table(
        content.ids, [f"new-{person}" for person in content.persons], content.parts, content.cells
    )
    refused = make.add_revision(tenant, dataset, renamed)
    assert make.read(Revision, refused).error["samples"] == 2


@settings(deadline=None)
@given(st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_is_written_alike_in_any_column_type(number: float) -> None:
    assert canonical(number) == canonical(float(number))
    assert canonical([number, None]) == f"[{canonical(float(number))},null]"


@given(
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
)
def test_different_things_have_different_digests(one: list[str], two: list[str]) -> None:
    same = digest_of("ten_1", "ds_1", "value", *one) == digest_of("ten_1", "ds_1", "value", *two)
    assert same == (one == two)
    assert digest_of("ten_2", "ds_1", "value", *one) != digest_of("ten_1", "ds_1", "value", *one)


def test_sealed_rows_open_only_in_their_place(sqlite_home: Path) -> None:
    request = Request(id="req_1", tenant_id="ten_1", dataset_id="ds_1")
    cells = Overlay().with_cells("age", [3], [40])
    record = seal(request, 1, rows=np.array([3, 70_000]), corrections=cells)
    assert record.count == 2
    assert rows_of(record).tolist() == [3, 70_000]
    assert corrections_of(record).to_bytes() == cells.to_bytes()
    for field, value in {"revision": 2, "request_id": "req_2", "tenant_id": "ten_2"}.items():
        moved = seal(request, 1, rows=np.array([3]), corrections=cells)
        setattr(moved, field, value)
        with pytest.raises(BoxDamaged):
            rows_of(moved)
        with pytest.raises(BoxDamaged):
            corrections_of(moved)
