"""Sending bells: the only place that writes to the broker."""

from collections.abc import Iterable

from celery import Celery
from kombu import Connection

from app.infra.settings import Settings
from workers.main import broker_folders, make_broker_folders

CONNECT_SECONDS = 5.0
TASK = "run_job"


def ring(celery: Celery, config: Settings, job_ids: Iterable[str]) -> None:
    """Send one message for each job.

    The connection is a fresh one: a broker that was restarted, flushed or emptied since the last
    time is met as it is now.

    Args:
        celery: The application.
        config: The settings; only the broker's matter.
        job_ids: Whom to ring for.

    Raises:
        kombu.exceptions.KombuError: The broker does not take them; some may have been sent.
        OSError: The same.
    """
    make_broker_folders(config)
    connection: Connection = celery.connection_for_write(connect_timeout=CONNECT_SECONDS)
    # The dispatcher tries again itself; here kombu would by default try for ever.
    connection.transport_options = {**(connection.transport_options or {}), "max_retries": 0}
    with connection, celery.amqp.Producer(connection) as producer:
        for job_id in job_ids:
            celery.send_task(TASK, [job_id], producer=producer, retry=False)
    _deliver(config)


def _deliver(config: Settings) -> None:
    """Show the filesystem broker's messages to the workers, each with all its bytes at once."""
    if config.broker_url.startswith("filesystem"):
        folders = broker_folders(config)
        for message in sorted(folders["outgoing"].iterdir()):
            message.rename(folders["incoming"] / message.name)
