"""Which cells a correction names.

They are its rows and new cells in every ready revision, and the old values that must not come
back.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from app.domain.catalog import Dataset, Revision
from app.domain.errors import FieldError
from app.domain.naming import Named, cell_faults, count_deleted, id_faults
from app.domain.orders import UNSET, CorrectionOrder, Json
from app.domain.sealed_rows import Rows, in_force, records, union
from app.domain.stores import opened
from app.domain.suppression import canonical
from app.domain.texts import escape, refuse_if
from app.infra.rows import ColumnSpec, Overlay, RowStore


@dataclass(frozen=True)
class NamedCells:
    """What a correction names.

    Attributes:
        named: Its rows and counts.
        overlays: New cells by revision.
        old: Cells in force that change: (sample id, column, canonical value), distinct.
        removed: Columns that take one value in every row, with that value.
        kind: ``label_correction``, ``feature_correction`` or ``mixed``.
    """

    named: Named
    overlays: dict[Revision, Overlay]
    old: tuple[tuple[str, str, str], ...]
    removed: tuple[tuple[str, Json], ...]
    kind: str


def name_correction(
    tx: Session, dataset: Dataset, revisions: Sequence[Revision], order: CorrectionOrder
) -> NamedCells:
    """Find the rows of a correction and work out their new cells.

    Args:
        tx: The transaction, past the tenant's gate.
        dataset: The dataset.
        revisions: Its ready revisions.
        order: What is asked; already checked.

    Returns:
        What it names.
    """
    cells = _asked_cells(dataset, order)
    asked = list(dict.fromkeys(id for column in cells.values() for id in column))
    removed = _removed(order)
    is_known = np.zeros(len(asked), bool)
    rows: dict[Revision, Rows | None] = {}
    overlays: dict[Revision, Overlay] = {}
    ids: dict[str, None] = {}
    old: dict[tuple[str, str, str], None] = {}
    everything = 0
    for revision in revisions:
        with opened(revision) as store:
            found = dict(zip(asked, store.find(asked).tolist(), strict=True)) if asked else {}
            is_known |= np.array([found[id] >= 0 for id in asked], bool)
            before = in_force(records(tx, dataset.id, revision.number, "correction"))
            overlay = Overlay()
            for column, by_id in cells.items():
                if column not in store.columns:
                    continue
                known = {id: value for id, value in by_id.items() if found[id] >= 0}
                places = np.array([found[id] for id in known], np.int64)
                spec = store.columns[column]
                values = [spec.check(value) for value in known.values()]
                for id, cell, value in zip(
                    known, store.cells(column, places, before), values, strict=True
                ):
                    if canonical(cell) != canonical(value):
                        old[id, column, canonical(cell)] = None
                overlay = overlay.with_cells(column, places, values)
            for column, value in removed:
                if column in store.columns:
                    overlay = overlay.with_cells(column, None, [store.columns[column].check(value)])
            here = union([np.array([row for row in found.values() if row >= 0], np.int64)])
            overlays[revision] = overlay
            is_everything = any(column in store.columns for column, _ in removed)
            rows[revision] = None if is_everything else here
            ids.update(dict.fromkeys(id for id in asked if found[id] >= 0))
            everything = max(everything, _present(store))
    unknown = [id for id, known in zip(asked, is_known, strict=True) if not known]
    deleted = count_deleted(tx, dataset, "sample", unknown)
    counts = {
        "samples": everything if removed else len(ids),
        "unknown": len(unknown) - deleted,
        "already_deleted": deleted,
    }
    return NamedCells(
        named=Named(rows, tuple(ids), (), tuple(unknown), (), counts),
        overlays=overlays,
        old=tuple(old),
        removed=tuple(removed),
        kind=_kind(dataset, cells, removed),
    )


def check_correction(
    dataset: Dataset, columns: Mapping[int, Sequence[ColumnSpec]], order: CorrectionOrder
) -> None:
    """Refuse an order that does not fit the dataset.

    Args:
        dataset: The dataset.
        columns: The columns of each ready revision, by number.
        order: What is asked.

    Raises:
        Refused: With the fields at fault; ``empty-request`` when it names nothing.
    """
    if not order.corrections and order.feature_removal is None:
        faults = [FieldError("", "empty-request", "names no correction")]
        refuse_if(faults, "empty-request")
    checker = _Checker(dataset, columns)
    faults = []
    for position, item in enumerate(order.corrections):
        place = f"/corrections/{position}"
        faults += [
            FieldError(f"{place}/sample_id", fault.code, fault.detail)
            for fault in id_faults([item.sample_id], "")
        ]
        if item.label is UNSET and not item.features:
            faults.append(FieldError(place, "empty-correction", "names no label or feature"))
        if item.label is not UNSET:
            label = dataset.columns.get("label")
            faults += checker.cell(label, item.label, f"{place}/label", f"{place}/label")
        for name, value in item.features.items():
            step = f"{place}/features/{escape(name)}"
            faults += checker.feature(name, step) or checker.cell(name, value, step, step)
    removal = order.feature_removal
    if removal is not None:
        place = "/feature_removal"
        if not removal.columns:
            faults.append(FieldError(f"{place}/columns", "empty-request", "names no column"))
        if removal.sample_ids is not None:
            faults += id_faults(removal.sample_ids, f"{place}/sample_ids")
            if not removal.sample_ids:
                faults.append(FieldError(f"{place}/sample_ids", "empty-request", "is empty"))
        for position, name in enumerate(removal.columns):
            step = f"{place}/columns/{position}"
            faults += checker.feature(name, step) or checker.cell(
                name, removal.value, step, f"{place}/value"
            )
    refuse_if(faults)


class _Checker:
    """Holds columns and values against every revision that has the column."""

    def __init__(self, dataset: Dataset, columns: Mapping[int, Sequence[ColumnSpec]]) -> None:
        self._roles = {name: role for role, name in dataset.columns.items() if name is not None}
        self._specs: dict[str, list[ColumnSpec]] = defaultdict(list)
        for number in sorted(columns, reverse=True):
            for spec in columns[number]:
                self._specs[spec.name].append(spec)

    def feature(self, name: str, pointer: str) -> list[FieldError]:
        """Return why a column is no feature."""
        if name in self._roles:
            detail = f"is the {self._roles[name]} column, not a feature"
            return [FieldError(pointer, "role-column", detail)]
        return []

    def cell(
        self, name: str | None, value: Json, pointer: str, value_pointer: str
    ) -> list[FieldError]:
        """Return why a column does not exist or cannot hold a value."""
        if name is None or name not in self._specs:
            return [FieldError(pointer, "unknown-column", "the dataset has no such column")]
        for spec in self._specs[name]:
            if faults := cell_faults(spec, value, value_pointer):
                return faults
        return []


def _asked_cells(dataset: Dataset, order: CorrectionOrder) -> dict[str, dict[str, Json]]:
    """Return the new cells by column and sample; the last of equal ones counts."""
    cells: dict[str, dict[str, Json]] = defaultdict(dict)
    for item in order.corrections:
        label = dataset.columns.get("label")
        if item.label is not UNSET and label is not None:
            cells[label][item.sample_id] = item.label
        for name, value in item.features.items():
            cells[name][item.sample_id] = value
    removal = order.feature_removal
    if removal is not None and removal.sample_ids is not None:
        for name in removal.columns:
            cells[name].update(dict.fromkeys(removal.sample_ids, removal.value))
    return dict(cells)


def _removed(order: CorrectionOrder) -> list[tuple[str, Json]]:
    removal = order.feature_removal
    if removal is None or removal.sample_ids is not None:
        return []
    return [(name, removal.value) for name in dict.fromkeys(removal.columns)]


def _kind(dataset: Dataset, cells: Mapping[str, object], removed: Sequence[object]) -> str:
    features = set(cells) - {dataset.columns.get("label")}
    if not features and not removed:
        return "label_correction"
    return "feature_correction" if features == set(cells) else "mixed"


def _present(store: RowStore) -> int:
    return store.rows - store.erased_rows
