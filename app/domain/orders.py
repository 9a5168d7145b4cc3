"""What callers ask of the domain, as plain values; nothing in here was checked yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
"""A decoded JSON value; what it may be is decided by the column it is for."""


class Unset(Enum):
    """Type of ``UNSET``."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
"""Stands for a field that was not given, where None is a value."""


@dataclass(frozen=True)
class DatasetOrder:
    """A new dataset; ``columns`` names the columns for id, subject, split and label."""

    name: str
    columns: Mapping[str, str | None]


@dataclass(frozen=True)
class ModelOrder:
    """A new model with the part of its policy that differs from the defaults."""

    name: str
    policy: Mapping[str, Json] | None = None


@dataclass(frozen=True)
class VersionOrder:
    """A version to register, before its weights are uploaded."""

    dataset_id: str
    architecture: Mapping[str, Json]
    inputs: Mapping[str, Json]
    objective: str
    dataset_revision: int | None = None
    parent_id: str | None = None
    training_split: str | None = None
    holdout_split: str | None = None
    weight_decay: float = 0.0
    recipe: Mapping[str, Json] | None = None


@dataclass(frozen=True)
class DeletionOrder:
    """Rows to be forgotten: by sample, by subject or a whole class by label."""

    dataset_id: str
    sample_ids: tuple[str, ...] = ()
    subject_ids: tuple[str, ...] = ()
    labels: tuple[Json, ...] = ()
    regulation: str = "none"
    submitted_at: datetime | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Correction:
    """New cells of one sample."""

    sample_id: str
    label: Json | Unset = UNSET
    features: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class FeatureRemoval:
    """One value for some columns of many samples; ``sample_ids`` None: of every row."""

    columns: tuple[str, ...]
    sample_ids: tuple[str, ...] | None = None
    value: Json = None


@dataclass(frozen=True)
class CorrectionOrder:
    """Cells to be corrected."""

    dataset_id: str
    corrections: tuple[Correction, ...] = ()
    feature_removal: FeatureRemoval | None = None
    regulation: str = "none"
    submitted_at: datetime | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Upload:
    """Where the body of an upload is to be put in the object store."""

    id: str
    key: str


@dataclass(frozen=True)
class PreviewTarget:
    """One version a request would reach, with its rows and a guess at the time."""

    version_id: str
    model_id: str
    rows: int
    method: str
    estimated_seconds: float


@dataclass(frozen=True)
class Preview:
    """What a request would do; nothing of it is stored."""

    counts: dict[str, int]
    targets: tuple[PreviewTarget, ...]
