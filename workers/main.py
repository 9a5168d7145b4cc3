"""The Celery application. Its messages are only bells: a job's row in the database is the job.

Acknowledged early and ignored by the result store, since a lost, doubled or late message does no
harm: ``run_job`` claims the row or returns. One job at a time, in a child that is spawned, not
forked: a forked child of a process that has computed hangs, and CUDA refuses it.
"""

from typing import Any

from celery import Celery, bootsteps, signals

from app.infra import logging, pulse
from app.infra.settings import Settings, settings
from workers.folder_broker import OPTION, install

QUEUE = "lethe"
POLLING_SECONDS = 0.1


class Pulse(bootsteps.StartStopStep):
    """Shows that the worker's own loop turns, also while its child computes for hours."""

    requires = frozenset({"celery.worker.components:Timer"})

    def start(self, worker: Any) -> None:
        """Beat now and then every few seconds."""
        beat = (settings().home, "worker")
        pulse.beat(*beat)
        worker.timer.call_repeatedly(pulse.BEAT_SECONDS, pulse.beat, beat)


@signals.worker_process_init.connect
def configure_logs(**_: Any) -> None:
    """Let the processes that run jobs log as the rest of the service does."""
    logging.configure()


def transport_options(config: Settings) -> dict[str, Any]:
    """Return what the broker's transport needs to know."""
    if config.broker_url.startswith("filesystem"):
        return {OPTION: str(config.broker_folder), "polling_interval": POLLING_SECONDS}
    return {"socket_connect_timeout": 5, "socket_timeout": 30, "health_check_interval": 15}


def make_application(config: Settings) -> Celery:
    """Make the Celery application for these settings."""
    install()
    # kombu complains about an address without a host.
    broker = config.broker_url.replace("filesystem://", "filesystem://localhost")
    application = Celery("lethe", broker=broker, include=["workers.tasks"])
    application.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options=transport_options(config),
        event_serializer="json",
        result_serializer="json",
        task_acks_late=False,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_publish_retry=False,
        task_serializer="json",
        worker_concurrency=1,
        worker_disable_prefetch=config.broker_url.startswith("redis"),
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60.0,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    application.steps["worker"].add(Pulse)
    return application


celery = make_application(settings())
