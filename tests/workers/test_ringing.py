"""Bells: whole or not there, and none the worse for a broker that was emptied."""

import base64
import json
import shutil
from pathlib import Path

import pytest
import redis
from kombu.exceptions import OperationalError

from app.infra.settings import Settings
from workers.main import QUEUE, make_application
from workers.ringing import MOST_WAITING, ring
from workers.supervision import Dispatcher


def embedded(home: Path) -> Settings:
    return Settings(home=home, broker_url="filesystem://")


def messages(config: Settings) -> list[dict]:
    return [json.loads(path.read_text()) for path in config.broker_folder.iterdir()]


def arguments(message: dict) -> list[str]:
    return json.loads(base64.b64decode(message["body"]))[0]


def test_each_job_is_rung_once_and_seen_whole(tmp_path: Path) -> None:
    config = embedded(tmp_path)
    ring(make_application(config), ["job_a", "job_b"])
    assert sorted(arguments(message) for message in messages(config)) == [["job_a"], ["job_b"]]


def test_message_is_json_that_names_the_task_and_the_job_only(tmp_path: Path) -> None:
    config = embedded(tmp_path)
    ring(make_application(config), ["job_a"])
    (message,) = messages(config)
    assert message["content-type"] == "application/json"
    assert message["headers"]["task"] == "run_job"
    assert json.loads(base64.b64decode(message["body"]))[:2] == [["job_a"], {}]


def test_emptied_broker_folder_is_made_again(tmp_path: Path) -> None:
    config = embedded(tmp_path)
    celery = make_application(config)
    ring(celery, ["job_a"])
    shutil.rmtree(config.broker_folder)
    ring(celery, ["job_b"])
    assert [arguments(message) for message in messages(config)] == [["job_b"]]


def test_flushed_redis_is_rung_again(tmp_path: Path, redis_url: str) -> None:
    config = Settings(home=tmp_path, broker_url=redis_url)
    celery = make_application(config)
    ring(celery, ["job_a", "job_b"])
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen(QUEUE) == 2
        client.flushall()
        ring(celery, ["job_c"])
        assert client.llen(QUEUE) == 1


def test_no_bell_is_added_to_a_long_queue(tmp_path: Path, redis_url: str) -> None:
    jobs = [f"job_{number}" for number in range(MOST_WAITING + 50)]
    for broker in ("filesystem://", redis_url):
        celery = make_application(Settings(home=tmp_path, broker_url=broker))
        assert ring(celery, jobs[:50]) == jobs[:50]
        assert ring(celery, jobs[50:]) == jobs[50:MOST_WAITING]
        assert ring(celery, jobs[:1]) == []


def test_the_dispatcher_rings_as_bells_are_heard(tmp_path: Path) -> None:
    config = embedded(tmp_path)
    jobs = [f"job_{number:03}" for number in range(2 * MOST_WAITING)]
    dispatcher = Dispatcher(dict.fromkeys(jobs), make_application(config))

    dispatcher.tick()
    assert sorted(arguments(message)[0] for message in messages(config)) == jobs[:MOST_WAITING]
    dispatcher.tick()
    assert list(dispatcher.unsent) == jobs[MOST_WAITING:]
    heard = sorted(config.broker_folder.iterdir())[:30]
    for path in heard:
        path.unlink()
    dispatcher.tick()
    assert list(dispatcher.unsent) == jobs[MOST_WAITING + 30 :]
    assert len(messages(config)) == MOST_WAITING


def test_absent_broker_is_an_error_that_comes_at_once(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0")
    with pytest.raises(OperationalError):
        ring(make_application(config), ["job_a"])
