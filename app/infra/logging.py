"""Logs of every process: one JSON object a line, on standard error.

An event is a dotted name with facts. What was bound at the edge (the HTTP request's id, the
job's id) is on every line of its work. Tracebacks name code, never values.
"""

import logging
import sys

import structlog

from app.infra.settings import settings


def configure(level_name: str | None = None) -> None:
    """Let structlog write as above.

    Args:
        level_name: From which level on; by default the one of the settings.
    """
    name = settings().log_level if level_name is None else level_name
    level = logging.getLevelNamesMapping().get(name.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
