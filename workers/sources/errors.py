"""Why a file cannot become a data set revision.

ImportRefused   one class: the code says which of the reasons it is
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

RefusalCode: TypeAlias = Literal[
    "not-parquet",
    "truncated-parquet",
    "missing-columns",
    "unsupported-column",
    "no-rows",
    "null-ids",
    "duplicate-ids",
    "suppressed-samples",
    "too-large",
]

REFUSAL_CODES: tuple[RefusalCode, ...] = get_args(RefusalCode)


class ImportRefused(Exception):
    """A file cannot become a data set revision; nothing of it stays on disk.

    Attributes:
        code: Stable name of the reason.
        detail: One sentence; it may name columns and types, never ids or cells.
        counts: How many rows, columns, ... are at fault, by name.
    """

    def __init__(
        self, code: RefusalCode, detail: str, counts: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.counts = dict(counts or {})
