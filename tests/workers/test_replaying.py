"""A job is run again: the same bits, a tolerance, or a plain reason why not; nothing is changed."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.domain.catalog import Revision, Version
from app.domain.errors import NotFound
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.domain.runs import RunRecord
from app.infra.db import reading, writing
from app.infra.migrate import upgrade_to_head
from app.infra.settings import settings as configured
from app.infra.storage import open_store
from tests import builders as make
from tests.domain.conftest import forget_settings
from tests.workers import worked
from workers import replaying
from workers.loading import load
from workers.replaying import Outcome, replay

LATER = {"withdraw_after_seconds": 86400.0, "gates": {}}
SOON = {"withdraw_after_seconds": 0, "gates": {}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    upgrade_to_head(f"sqlite:///{tmp_path / 'lethe.db'}")
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
    forget_settings()


def served(
    home: Path, ask: Callable[[str, str], str], policy: dict[str, object], method: str = "auto"
) -> tuple[str, str, str]:
    """Let the workers serve one request; return tenant, data set and job."""
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant, worked.content())
    model = make.make_model(tenant, method=method, **policy)
    worked.live_version(tenant, model, dataset, home)
    request = ask(tenant, dataset)
    worked.work()
    job = worked.job_of(request)
    assert job.state == "succeeded", job.error
    return tenant, dataset, job.id


def corrected(tenant: str, dataset: str) -> str:
    return make.correct(
        tenant, dataset, Correction("s0", label=2), Correction("s4", features={"x": [0.5, 0.25]})
    )


def deleted(tenant: str, dataset: str) -> str:
    return make.delete(tenant, dataset, "s0", "s1", "s7", "s200")


def everything(home: Path) -> dict[str, str]:
    """The database as text and the digest of every other file."""
    files = {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not path.name.startswith("lethe.db")
    }
    with sqlite3.connect(home / "lethe.db") as database:
        files["database"] = hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()
    return files


@pytest.mark.parametrize(
    ("method", "ask"),
    [
        ("auto", corrected),
        ("saps", corrected),
        ("retrain", corrected),
        ("auto", deleted),
        ("sparse_newton", deleted),
    ],
)
def test_inputs_that_are_still_held_give_the_same_bits(
    home: Path, method: str, ask: Callable[[str, str], str]
) -> None:
    _, _, job = served(home, ask, LATER, method)

    found = replay(job)

    assert found.outcome is Outcome.IDENTICAL, found.sentences
    assert "every bit is as published" in found.sentences[-1]


@pytest.mark.parametrize("ask", [corrected, deleted])
def test_training_again_can_be_repeated_when_all_else_is_destroyed(
    home: Path, ask: Callable[[str, str], str]
) -> None:
    _, _, job = served(home, ask, SOON, "retrain")
    with reading() as tx:
        old = tx.get_one(Version, tx.get_one(Job, job).version_id)
        assert (old.state, old.weights_key) == ("withdrawn", None)
        assert tx.get_one(RunRecord, job).passing_key is None

    assert replay(job).outcome is Outcome.IDENTICAL


@pytest.mark.parametrize("ask", [corrected, deleted])
def test_what_needed_the_erased_rows_cannot_be_repeated_and_says_so(
    home: Path, ask: Callable[[str, str], str]
) -> None:
    _, _, job = served(home, ask, SOON, "fine_tune")

    found = replay(job)

    assert found.outcome is Outcome.IMPOSSIBLE
    assert "erased or written over, and fine_tune needs them" in found.sentences[-1]


def test_rows_erased_later_make_a_run_unrepeatable_and_take_its_key(home: Path) -> None:
    tenant, dataset, job = served(home, corrected, SOON, "retrain")
    with reading() as tx:
        before = tx.get_one(RunRecord, job)
        assert before.lasting_key is not None
        assert before.replaced is not None
    make.delete(tenant, dataset, "s9")
    worked.work()

    with reading() as tx:
        after = tx.get_one(RunRecord, job)
        assert (after.lasting_key, after.passing_key, after.replaced) == (None, None, None)
    found = replay(job)
    assert found.outcome is Outcome.IMPOSSIBLE
    assert "erased or corrected since by other requests" in found.sentences[-1]


def test_a_run_that_knew_of_a_deletion_survives_it(home: Path) -> None:
    """The second deletion was accepted before the first job ran, which left its rows out."""
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant, worked.content())
    model = make.make_model(tenant, method="retrain", batching={"max_samples": 1}, **SOON)
    worked.live_version(tenant, model, dataset, home)
    first = make.delete(tenant, dataset, "s3")
    second = make.delete(tenant, dataset, "s5")
    worked.work()
    jobs = {worked.job_of(first).id, worked.job_of(second).id}

    assert {replay(job).outcome for job in jobs} == {Outcome.IDENTICAL}


def test_other_threads_agree_or_are_said_to_differ(home: Path) -> None:
    _, _, job = served(home, corrected, LATER)

    found = replay(job, threads=2)

    assert found.outcome in {Outcome.IDENTICAL, Outcome.AGREES}
    assert "threads: 2 instead of 1" in " ".join(found.sentences)


def altered_weights(home: Path, job: str) -> None:
    with reading() as tx:
        version = tx.get_one(Version, tx.get_one(Job, job).version_id)
    with open_store(configured().store_url).local_copy(str(version.weights_key)) as path:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def altered_row(home: Path, job: str) -> None:
    """Write another value over a cell of a row that the run had retained."""
    with reading() as tx:
        revision = tx.scalars(select(Revision)).one()
    column = home / "rows" / revision.folder / "column-0001.cells"
    with column.open("r+b") as file:
        file.seek(8 * 10)
        byte = file.read(1)
        file.seek(8 * 10)
        file.write(bytes([byte[0] ^ 64]))


def altered_recipe(home: Path, job: str) -> None:
    with writing() as tx:
        version = tx.get_one(Version, tx.get_one(Job, job).version_id)
        tx.execute(
            update(Version)
            .where(Version.id == version.id)
            .values(recipe={**(version.recipe or {}), "epochs": 7})
        )


def altered_manifest(home: Path, job: str) -> None:
    with writing() as tx:
        tx.execute(update(Revision).values(digest="sha256:" + "1" * 64))


def altered_record(home: Path, job: str) -> None:
    with writing() as tx:
        record = tx.get_one(RunRecord, job)
        record.document = {**record.document, "weights": "sha256:" + "0" * 64}


def altered_result(home: Path, job: str) -> None:
    with writing() as tx:
        result = tx.get_one(Job, job).result_version_id
        tx.execute(update(Version).where(Version.id == result).values(digest="sha256:" + "0" * 64))


ALTERED: list[tuple[Callable[[Path, str], None], str]] = [
    (altered_weights, "the weights it started from are not those recorded"),
    (altered_row, "the retained rows are not those recorded"),
    (altered_recipe, "what the version says about itself is not what it said then"),
    (altered_manifest, "the manifest of the data set is not the one recorded"),
    (altered_record, "the record of the run, or of its result, is not the one in the log"),
    (altered_result, "the record of the run, or of its result, is not the one in the log"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with one correction done, whose inputs are still held."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETHE_HOME", str(folder))
        forget_settings()
        upgrade_to_head(f"sqlite:///{folder / 'lethe.db'}")
        _, _, job = served(folder, corrected, LATER, "fine_tune")
        forget_settings()
    return folder, job


@pytest.fixture
def copy(
    template: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, str]]:
    """A copy of it to be spoilt."""
    source, job = template
    home = tmp_path / "home"
    shutil.copytree(source, home)
    monkeypatch.setenv("LETHE_HOME", str(home))
    forget_settings()
    yield home, job
    forget_settings()


@pytest.mark.parametrize(("alter", "reason"), ALTERED, ids=[a.__name__ for a, _ in ALTERED])
def test_an_altered_input_is_refused_by_name(
    copy: tuple[Path, str], alter: Callable[[Path, str], None], reason: str
) -> None:
    home, job = copy
    assert replay(job).outcome is Outcome.IDENTICAL
    alter(home, job)

    found = replay(job)

    assert (found.outcome, found.sentences) == (Outcome.CHANGED, (f"refused: {reason}",))


def test_another_result_is_called_different(
    copy: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another generator stands for a program that computes something else."""
    _, job = copy

    def reseeded(*arguments: object) -> object:
        loaded = load(*arguments)  # type: ignore[arg-type]  # handed on as they came
        loaded.problem.generator_seed += 1
        return loaded

    monkeypatch.setattr(replaying, "load", reseeded)

    found = replay(job)

    assert found.outcome is Outcome.DIFFERENT
    assert "the result has other bits; the weights lie" in found.sentences[-1]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.sampled_from([alter for alter, _ in ALTERED]), max_size=2),
    st.sampled_from([None, 1, 2]),
)
def test_whatever_a_replay_finds_it_changes_nothing(
    template: tuple[Path, str],
    tmp_path_factory: pytest.TempPathFactory,
    alterations: list[Callable[[Path, str], None]],
    threads: int | None,
) -> None:
    source, job = template
    home = tmp_path_factory.mktemp("copy") / "home"
    shutil.copytree(source, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETHE_HOME", str(home))
        forget_settings()
        for alter in alterations:
            alter(home, job)
        before = everything(home)

        replay(job, threads)

        assert everything(home) == before
        forget_settings()


def test_a_job_that_is_not_there_is_not_found(home: Path) -> None:
    with pytest.raises(NotFound):
        replay("job_none")
