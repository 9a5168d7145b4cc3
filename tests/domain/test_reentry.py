"""What was deleted or corrected does not come back, and nothing else is kept out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.catalog import Dataset, Revision
from app.domain.orders import Correction
from app.domain.reentry import Guard
from app.domain.requests import Request
from app.domain.sealed_rows import corrections_of, rows_of, seal
from app.domain.suppression import canonical, digest_of, is_old, value_digests
from app.infra import keys
from app.infra.db import writing
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


@pytest.mark.parametrize("back", [[0.1, 0.2], np.array([0.1, 0.2], np.float32).tolist()])
def test_an_old_value_stays_out_in_a_column_of_another_width(
    sqlite_home: Path, back: list[float]
) -> None:
    tenant = make.make_tenant()
    content = make.table()
    content.cells["x"][0] = [0.1, 0.2]
    dataset = make.make_dataset(tenant, content)
    make.correct(tenant, dataset, Correction("s0", features={"x": [0.3, 0.4]}))
    with writing() as tx:
        guard = Guard(tx, tx.get_one(Dataset, dataset), "refuse")
    assert guard.inspect(["s0"], [None], {"x": [back]}.__getitem__).offending == {"values": 1}
    corrected = np.array([0.3, 0.4], np.float32).tolist()
    assert not guard.inspect(["s0"], [None], {"x": [corrected]}.__getitem__).offending


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
    key = keys.derive("ten_1", "rows")
    record = seal(request, 1, key=key, rows=np.array([3, 70_000]), corrections=cells)
    assert record.count == 2
    assert rows_of(record).tolist() == [3, 70_000]
    assert corrections_of(record).to_bytes() == cells.to_bytes()
    for field, value in {"revision": 2, "request_id": "req_2", "tenant_id": "ten_2"}.items():
        moved = seal(request, 1, key=key, rows=np.array([3]), corrections=cells)
        setattr(moved, field, value)
        with pytest.raises(BoxDamaged):
            rows_of(moved)
        with pytest.raises(BoxDamaged):
            corrections_of(moved)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_an_old_value_is_known_in_a_column_of_any_width(number: float) -> None:
    place, text = ("ten", "ds"), canonical([number])
    narrow = canonical([single(number)])
    assert is_old(place, "s", "x", text, value_digests(place, "s", "x", text))
    assert is_old(place, "s", "x", narrow, value_digests(place, "s", "x", text))
    assert is_old(place, "s", "x", text, value_digests(place, "s", "x", narrow))
    assert not is_old(place, "s", "y", text, value_digests(place, "s", "x", text))


def test_close_values_are_different_ones(sqlite_home: Path) -> None:
    place = ("ten", "ds")
    old = value_digests(place, "s", "x", canonical(1700000000.25))
    assert not is_old(place, "s", "x", canonical(1700000001.75), old)
    assert not is_old(place, "s", "x", "1700000001", value_digests(place, "s", "x", "1700000000"))


def single(number: float) -> float:
    """What a column of 32-bit floats holds; whole and huge numbers are told apart anyway."""
    is_small = abs(number) <= float(np.finfo(np.float32).max)
    return float(np.float32(number)) if is_small and not number.is_integer() else number
