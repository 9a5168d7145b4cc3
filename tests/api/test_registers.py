"""The registers: every request and every use of data, no ids of people, and no formulas."""

import csv
import io
from datetime import datetime
from pathlib import Path
from statistics import fmean, median

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api import csv_lines
from app.client import Lethe
from app.domain import audit
from app.domain.actions import importing, upkeep
from app.domain.base import move
from app.domain.catalog import Model, Version
from app.domain.queries.registers import RESPONSES
from app.domain.requests import DONE_STATES, Request, Target
from app.infra.db import writing
from app.infra.ids import new_id
from tests import builders as make
from tests.api.conftest import Service
from tests.api.registered import live_version
from workers.supervision import Sealer

DATABASES = ("sqlite", "postgresql")
NAME = '=HYPERLINK("http://x";"y")'
OTHER_NAME = "clothes; @SUM(1+1)\t+2"


def rows(client: Lethe, folder: Path, register: str = "requests") -> list[dict[str, str]]:
    client.export_register(folder / "register.csv", register)
    text = (folder / "register.csv").read_bytes().decode()
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture(scope="module")
def filed(service: Service) -> dict[str, str]:
    """Requests of every kind of end, by what became of them."""
    with service.client() as client:
        live, other = live_version(client), live_version(client)
        asked = "2020-01-31T09:00:00Z"
        ids = {
            "fulfilled": client.submit_deletion(
                live.dataset_id,
                sample_ids=["s0", "canary-unknown"],
                subject_ids=[],
                regulation="gdpr",
                submitted_at=asked,
                reference="canary-reference",
            )["id"],
            "nothing": client.submit_deletion(
                live.dataset_id, sample_ids=["canary-nobody"], regulation="ccpa"
            )["id"],
        }
        with writing() as tx:
            for revision_id, _ in upkeep.finished_uploads(tx):
                importing.forget_upload(tx, revision_id)
        make.work_off()
        Sealer().tick()
        ids["open"] = client.submit_correction(
            other.dataset_id, corrections=[{"sample_id": "s1", "label": 1}], regulation="ccpa"
        )["id"]
        ids["cancelled"] = client.submit_deletion(other.dataset_id, sample_ids=["s2"])["id"]
        client.cancel_request(ids["cancelled"])
        Sealer().tick()
    return ids


def test_every_request_has_its_line(
    service: Service, client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    found = rows(client, tmp_path)
    assert [row["request_id"] for row in found] == sorted(filed.values())
    for row in found:
        shown = client.request(row["request_id"])
        assert row["regulation"] == shown["regulation"]
        assert row["right"] == {"deletion": "erasure", "correction": "correction"}[shown["kind"]]
        for column, field in (
            ("submitted_at", "submitted_at"),
            ("received_at", "received_at"),
            ("due_at", "due_at"),
            ("responded_at", "completed_at"),
        ):
            assert row[column] == (shown[field] or "")
        for name in ("samples", "unknown", "already_deleted"):
            assert row[name] == str(shown["counts"][name])
        assert row["versions_reached"] == str(len(shown["targets"]))
        made = [t for t in shown["targets"] if t["state"] == "fulfilled"]
        assert row["versions_remade"] == str(len(made))
        assert (row["certificate_sha256"] != "") == (shown["certificate"] is not None)
    by_id = {row["request_id"]: row for row in found}
    assert by_id[filed["fulfilled"]]["response"] == "complied with in whole"
    assert by_id[filed["nothing"]]["response"] == "no such data held"
    assert by_id[filed["cancelled"]]["response"] == "cancelled by the requester"
    assert by_id[filed["open"]]["response"] == "open"
    assert by_id[filed["open"]]["days_to_respond"] == ""


def test_days_run_from_the_day_the_person_asked(
    client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    by_id = {row["request_id"]: row for row in rows(client, tmp_path)}
    late, quick = by_id[filed["fulfilled"]], by_id[filed["nothing"]]
    asked, answered = map(datetime.fromisoformat, (late["submitted_at"], late["responded_at"]))
    assert late["days_to_respond"] == str((answered - asked).days)
    assert (late["overdue"], quick["overdue"]) == ("yes", "no")
    assert quick["days_to_respond"] == "0"


def test_a_line_names_the_entry_that_logs_its_certificate(
    client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    [row] = [r for r in rows(client, tmp_path) if r["request_id"] == filed["fulfilled"]]
    leaf = client.leaf(int(row["log_index"])).decode()
    assert row["certificate_sha256"] in leaf
    assert '"type":"certificate.issued"' in leaf


def test_nobody_is_named(client: Lethe, filed: dict[str, str], tmp_path: Path) -> None:
    for register in ("requests", "processing"):
        rows(client, tmp_path, register)
        assert "canary" not in (tmp_path / "register.csv").read_text()


def test_the_register_of_processing_says_what_is_known(
    service: Service, client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    found = rows(client, tmp_path, "processing")
    assert len(found) == 2
    for row in found:
        versions = list(client.versions(row["model_id"]))
        assert {v["dataset_id"] for v in versions} == {row["dataset_id"]}
        assert row["versions"] == str(len(versions))
        serving = [v for v in versions if v["state"] in {"live", "tainted"}]
        assert row["versions_serving"] == str(len(serving))
        dataset = client.dataset(row["dataset_id"])
        revision = client.get(f"/v1/datasets/{row['dataset_id']}/revisions/{dataset['revision']}")
        assert row["rows_held"] == str(revision["rows"] - revision["erased_rows"])
        assert row["rows_erased"] == str(revision["erased_rows"])
        assert row["data_categories"] == "x; label"
        assert row["people_identified"] == "yes"
        assert (row["purpose"], row["controller"], row["transfers"]) == ("", "", "")
    assert sorted(row["rows_erased"] for row in found) == ["0", "1"]


def test_downloads_count_as_recipients(
    service: Service, client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    with service.client(service.key()) as owner:
        live = live_version(owner)
        for key in (service.key("models:download"), service.key("models:download")):
            with service.client(key) as reader:
                reader.download_weights(live.model_id, live.version_id, tmp_path / "w")
                reader.download_weights(live.model_id, live.version_id, tmp_path / "w")
        owner.post(f"/v1/models/{live.model_id}/versions/{live.version_id}/withdrawal")
    [row] = [r for r in rows(client, tmp_path, "processing") if r["model_id"] == live.model_id]
    assert (row["recipients"], row["downloads"]) == ("2", "4")


def test_a_register_is_of_one_tenant(service: Service, tmp_path: Path) -> None:
    _, key = service.tenant()
    with service.client(key) as stranger:
        assert rows(stranger, tmp_path) == []
        assert rows(stranger, tmp_path, "processing") == []
        assert (tmp_path / "register.csv").read_text().startswith("model_id,model,")


def test_names_are_no_formulas(service: Service, tmp_path: Path) -> None:
    _, key = service.tenant()
    with service.client(key) as owner:
        dataset = owner.create_dataset(NAME, id="id")
        model = owner.create_model(OTHER_NAME)
        with writing() as tx:
            add_version(tx, str(model["id"]), str(dataset["id"]))
        [row] = rows(owner, tmp_path, "processing")
    assert row["dataset"].startswith("'=")
    assert row["model"] == "clothes; '@SUM(1+1) +2"


def add_version(tx: Session, model_id: str, dataset_id: str) -> None:
    """A version as the register reads it, without the way there."""
    from sqlalchemy.orm import Session

    assert isinstance(tx, Session)
    model = tx.get_one(Model, model_id)
    tx.add(
        Version(
            id=new_id("mv"), tenant_id=model.tenant_id, state="live", model_id=model_id,
            dataset_id=dataset_id, dataset_revision=1, architecture={}, inputs={},
            objective="cross_entropy",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("regulation=gdpr", ["fulfilled"]),
        ("regulation=ccpa", ["nothing", "open"]),
        ("received_before=2020-01-01T00:00:00Z", []),
        ("received_from=2020-01-01T00:00:00Z&regulation=none", ["cancelled"]),
    ],
)
def test_a_register_of_a_part(
    http: httpx.Client, filed: dict[str, str], query: str, names: list[str]
) -> None:
    answer = http.get(f"/v1/register.csv?{query}")
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["request_id"] for row in found] == sorted(filed[name] for name in names)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert 'filename="register-requests.csv"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "path",
    [
        "register.csv?register=all",
        "register.csv?received_from=yesterday",
        "register.csv?regulation=A",
        "statistics",
        "statistics?year=0",
        "statistics?year=99999",
    ],
)
def test_other_questions_are_refused(http: httpx.Client, path: str) -> None:
    assert http.get(f"/v1/{path}").status_code == 422


def test_more_requests_than_one_part_are_all_there(service: Service, tmp_path: Path) -> None:
    tenant_id, key = service.tenant()
    dataset = make.make_dataset(tenant_id)
    ids = [make.delete(tenant_id, dataset, f"nobody{n}") for n in range(205)]
    with service.client(key) as owner:
        assert [row["request_id"] for row in rows(owner, tmp_path)] == sorted(ids)


ANSWERED = ("complied with in whole", "complied with in part", "no such data held", "denied")


def days_of(row: dict[str, str]) -> float:
    times = [datetime.fromisoformat(row[name]) for name in TIMES if row[name]]
    return (times[-1] - min(times)).total_seconds() / 86400


TIMES = ("submitted_at", "received_at", "responded_at")


def test_the_figures_of_a_year_are_those_of_the_register(
    client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    found = rows(client, tmp_path)
    year = datetime.fromisoformat(found[0]["received_at"]).year
    for regulation in (None, "gdpr", "ccpa"):
        shown = client.statistics(year, regulation)
        assert (shown["year"], shown["regulation"]) == (year, regulation)
        for kind, right in (("deletion", "erasure"), ("correction", "correction")):
            chosen = [
                row
                for row in found
                if row["right"] == right and regulation in {None, row["regulation"]}
            ]
            responses = [row["response"] for row in chosen]
            figures = shown[kind]
            assert figures["received"] == len(chosen)
            assert figures["in_whole"] == responses.count("complied with in whole") + (
                responses.count("no such data held")
            )
            assert figures["open"] == responses.count("open")
            assert figures["cancelled"] == responses.count("cancelled by the requester")
            assert figures["denied"] == figures["in_part"] == 0
            days = [days_of(row) for row in chosen if row["response"] in ANSWERED]
            assert figures["mean_days"] == (pytest.approx(fmean(days)) if days else None)
            assert figures["median_days"] == (pytest.approx(median(days)) if days else None)
    assert client.statistics(year - 1)["deletion"]["received"] == 0


WIDE = "\uff1d\uff0b\uff0d\uff20"
"""The same four signs in full width: spreadsheets take these, too."""
FORMULA = tuple("=+-@\t\r" + WIDE)
SPECIAL = "a1 =+-@;,\t\"'\n|(" + WIDE
TEXTS = st.text(st.sampled_from(SPECIAL) | st.characters(exclude_categories=["Cs"]), max_size=12)
MARKS = '=+-@,;|"\u2028\u2029' + WIDE
HARMLESS = st.characters(exclude_characters=MARKS, exclude_categories=["C"])


@given(st.lists(TEXTS))
def test_no_cell_is_a_formula_to_any_program(values: list[str]) -> None:
    """Read with each separator, minding quotes and not."""
    written = csv_lines.line(values).decode()
    assert written.count("\n") == 1
    cells = next(csv.reader(io.StringIO(written, newline="")), [])
    assert len(cells) == len(values) or values in ([], [""])
    for separator in ",;|\t":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            reader = csv.reader(
                io.StringIO(written, newline=""), delimiter=separator, quoting=quoting
            )
            for cell in next(reader, []):
                assert not cell.strip().lstrip('"“” ').startswith(FORMULA), cell


@given(st.text(HARMLESS))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert csv_lines.cell(text) == text


def test_the_states_that_end_a_request_all_have_a_word() -> None:
    assert set(RESPONSES) == set(DONE_STATES)


def test_a_line_says_why_a_request_was_not_complied_with(
    client: Lethe, filed: dict[str, str], tmp_path: Path
) -> None:
    live = live_version(client)
    ids = [client.submit_deletion(live.dataset_id, sample_ids=[f"s{n}"])["id"] for n in range(3)]
    with writing() as tx:
        unproved, silent, partly = (tx.get_one(Request, id) for id in ids)
        move(tx, unproved, "rejected", audit.SYSTEM, reason="identity-not-shown")
        move(tx, silent, "rejected", audit.SYSTEM)
        target = tx.scalars(select(Target).where(Target.request_id == partly.id)).one()
        move(tx, target, "cancelled", audit.SYSTEM)
        for state in ("withdrawing", "partially_fulfilled"):
            move(tx, partly, state, audit.SYSTEM)
    expected = {
        filed["fulfilled"]: "",
        filed["cancelled"]: "",
        filed["open"]: "",
        filed["nothing"]: "no data is held under what was named",
        unproved.id: "identity-not-shown",
        silent.id: "not stated",
        partly.id: "1 of 1 versions were left as they were: cancelled by a person",
    }
    found = {row["request_id"]: row for row in rows(client, tmp_path)}
    assert {id: found[id]["basis_of_denial"] for id in expected} == expected
    assert [found[id]["response"] for id in ids] == ["denied", "denied", "complied with in part"]
