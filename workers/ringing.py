"""Sending bells: the only place that writes to the broker."""

from collections.abc import Iterable

from celery import Celery
from kombu import Connection

CONNECT_SECONDS = 5.0
TASK = "run_job"


def ring(celery: Celery, job_ids: Iterable[str]) -> None:
    """Send one message for each job.

    The connection is a fresh one: a broker that was restarted, flushed or emptied since the last
    time is met as it is now.

    Args:
        celery: The application.
        job_ids: Whom to ring for.

    Raises:
        kombu.exceptions.KombuError: The broker does not take them; some may have been sent.
        OSError: The same.
    """
    connection: Connection = celery.connection_for_write(connect_timeout=CONNECT_SECONDS)
    # The dispatcher tries again itself; here kombu would by default try for ever.
    connection.transport_options = {**(connection.transport_options or {}), "max_retries": 0}
    with connection, celery.amqp.Producer(connection) as producer:
        for job_id in job_ids:
            celery.send_task(TASK, [job_id], producer=producer, retry=False)
