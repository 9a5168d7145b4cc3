"""Sending bells: the only place that writes to the broker."""

from collections.abc import Iterable
from itertools import islice

from celery import Celery
from kombu import Connection

CONNECT_SECONDS = 5.0
TASK = "run_job"
MOST_WAITING = 200
"""Bells in the broker beyond which none is added: what has not been heard need not be repeated."""


def ring(celery: Celery, job_ids: Iterable[str]) -> list[str]:
    """Send one message for each job, as far as the broker's queue is short.

    The connection is a fresh one: a broker that was restarted, flushed or emptied since the last
    time is met as it is now.

    Args:
        celery: The application.
        job_ids: Whom to ring for, the first ones first.

    Returns:
        Whom it rang for.

    Raises:
        kombu.exceptions.KombuError: The broker does not take them; some may have been sent.
        OSError: The same.
    """
    connection: Connection = celery.connection_for_write(connect_timeout=CONNECT_SECONDS)
    # The dispatcher tries again itself; here kombu would by default try for ever.
    connection.transport_options = {**(connection.transport_options or {}), "max_retries": 0}
    with connection, celery.amqp.Producer(connection) as producer:
        queue = celery.amqp.queues[celery.conf.task_default_queue](producer.channel)
        room = MOST_WAITING - queue.queue_declare()[1]
        rung = list(islice(job_ids, max(0, room)))
        for job_id in rung:
            celery.send_task(TASK, [job_id], producer=producer, retry=False)
    return rung
