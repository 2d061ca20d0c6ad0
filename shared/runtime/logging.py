"""Log lines: static dotted event names with fields, one JSON object a line or a readable line."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager
from typing import Any, cast

import structlog


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return a logger whose calls take an event name and fields: `log.info("clip.cut.done", clip=id)`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger())


def bound(**fields: str) -> AbstractContextManager[None]:
    """Add the fields to every line of this thread or task while the block runs; tasks that it starts keep them."""
    return structlog.contextvars.bound_contextvars(**fields)


def configure_logging(service: str, *, json: bool, level: str = "INFO") -> None:
    """Send every log line of this process to stderr, as JSON or as text for people."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=32, sort_keys=False)
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        lambda _logger, _method, line: {"service": service, **line},  # threads start with an empty context
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[
        structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared))  # fmt: skip
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
