"""The servers of the tests are real, fresh and gone afterwards."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.servers import ServerMissing, redis_server

HOLDER = """

from tests.servers import postgres_server, redis_server
with redis_server() as first, postgres_server() as second:
    print(first, second, flush=True)
    time.sleep(600)
"""


def test_redis_answers_and_never_evicts(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_each_test_has_a_database_of_its_own(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table leftover (id int)")


def test_nothing_is_left_of_the_other_test(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("select to_regclass('leftover')").fetchone()

    assert found == (None,)


def test_without_any_server_the_error_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    monkeypatch.setattr("tests.servers.SITE", Path("/nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ServerMissing, match="TEST_REDIS_URL"), redis_server():
        pass


def test_a_killed_run_leaves_no_server() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TEST_")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        servers = psutil.Process(holder.pid).children(recursive=True)
        assert len(servers) >= 2
        holder.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(servers, timeout=20)

    assert not alive
