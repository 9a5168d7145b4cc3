"""Content that cannot be a data set: the reason is recorded, and nothing else is left."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.controller import Controller
from tests.e2e.material import COLUMNS
from tests.e2e.service import PATIENCE_SECONDS, Service
from tests.e2e.traces import Traces

ZEROS = bytes(48 << 20)
LONG = "x" * 10_000


def parquet(**columns: object) -> bytes:
    whole = {
        "sample_id": ["a", "b"],
        "subject_id": ["p", "q"],
        "split": ["train", "test"],
        "label": [0, 1],
        "x": [0.5, 1.5],
    } | columns
    file = io.BytesIO()
    pq.write_table(pa.table({k: v for k, v in whole.items() if v is not None}), file)
    return file.getvalue()


def of_types(**types: pa.DataType) -> bytes:
    """A file without rows."""
    file = io.BytesIO()
    pq.write_table(pa.schema(types.items()).empty_table(), file)
    return file.getvalue()


SOUND = parquet()
BAD = {
    "text": (b"sample_id,label\na,1\n", "not-parquet"),
    "nothing": (b"", "not-parquet"),
    "zeros": (ZEROS, "not-parquet"),
    "zeros in a frame": (b"PAR1" + ZEROS + b"PAR1", "not-parquet"),
    "half": (SOUND[: len(SOUND) // 2], "truncated-parquet"),
    "without its last byte": (SOUND[:-1], "truncated-parquet"),
    "frame alone": (b"PAR1PAR1", "truncated-parquet"),
    "huge footer": (b"PAR1" + (2**32 - 1).to_bytes(4, "little") + b"PAR1", "not-parquet"),
    "damaged pages": (SOUND[:4] + bytes(60) + SOUND[64:], "not-parquet"),
    "same id twice": (parquet(sample_id=["a", "a"]), "duplicate-ids"),
    "same number twice": (parquet(sample_id=[7, 7]), "duplicate-ids"),
    "null id": (parquet(sample_id=["a", None]), "null-ids"),
    "empty id": (parquet(sample_id=["a", ""]), "null-ids"),
    "no id column": (parquet(sample_id=None), "missing-columns"),
    "no label column": (parquet(label=None), "missing-columns"),
    "no rows": (
        of_types(
            sample_id=pa.string(), subject_id=pa.string(), split=pa.string(), label=pa.int64()
        ),
        "no-rows",
    ),
    "structs": (parquet(x=[{"y": 1}, {"y": 2}]), "unsupported-column"),
    "lists of two lengths": (parquet(x=[[1.0], [1.0, 2.0]]), "unsupported-column"),
    "fractional ids": (parquet(sample_id=[0.5, 1.5]), "unsupported-column"),
    "id with NUL": (parquet(sample_id=["a", "b\0"]), "unsupported-column"),
    "id of 10,000 letters": (parquet(sample_id=["a", LONG]), "unsupported-column"),
    "person of 10,000 letters": (parquet(subject_id=["a", LONG]), "unsupported-column"),
}


@pytest.fixture(scope="module")
def traces(service: Service) -> Iterator[Traces]:
    looking = Traces(service)
    yield looking
    looking.close()


@pytest.mark.parametrize("case", BAD)
def test_a_first_revision_is_refused(controller: Controller, traces: Traces, case: str) -> None:
    content, code = BAD[case]
    dataset_id = controller.create_dataset(case, **COLUMNS)["id"]
    before = traces.now()
    accepted = controller.upload_content(dataset_id, content)
    assert accepted["last_revision"] == 1
    dataset = controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    assert (dataset["state"], dataset["revision"]) == ("invalid", None)
    (revision,) = controller.revisions(dataset_id)
    assert (revision["state"], revision["error"]["code"]) == ("invalid", code)
    assert not any(word in str(revision["error"]) for word in (LONG, "b\0"))
    traces.require_refusal(before, revisions=1)
    # A better file makes up for it.
    assert controller.upload_content(dataset_id, SOUND)["last_revision"] == 2
    assert controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)["state"] == "ready"


@pytest.mark.parametrize("case", ["text", "half", "same id twice", "no label column"])
def test_a_later_one_leaves_the_one_before(
    controller: Controller, traces: Traces, case: str
) -> None:
    content, code = BAD[case]
    dataset_id = controller.create_dataset(case, **COLUMNS)["id"]
    controller.upload_content(dataset_id, SOUND)
    ready = controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    assert (ready["state"], ready["revision"]) == ("ready", 1)
    before = traces.now()
    controller.upload_content(dataset_id, content)
    dataset = controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    assert (dataset["state"], dataset["revision"]) == ("ready", 1)
    assert controller.revision(dataset_id, 2)["error"]["code"] == code
    traces.require_refusal(before, revisions=1)


def test_ids_that_only_look_alike_are_two(controller: Controller) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    dataset_id = controller.create_dataset("twins", **COLUMNS)["id"]
    content = parquet(sample_id=[composed, "tab\tand\nline"])
    controller.upload_content(dataset_id, content)
    assert controller.wait_for_dataset(dataset_id, PATIENCE_SECONDS)["state"] == "ready"
    other = controller.submit_deletion(dataset_id, sample_ids=[decomposed, "tab and line"])
    assert (other["state"], other["counts"]["unknown"]) == ("nothing_found", 2)
    request = controller.submit_deletion(dataset_id, sample_ids=[composed, "tab\tand\nline"])
    assert controller.finished(request["id"])["counts"]["samples"] == 2
