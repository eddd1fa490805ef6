"""Structured logs on stderr: for people on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


class _Lines:
    """stderr, of which nobody need read, nor a full disk take, what is written: it costs the line, not its writer."""

    def write(self, text: str) -> None:
        """Write, or not."""
        with suppress(OSError, ValueError):  # ValueError: it is closed
            sys.stderr.write(text)

    def flush(self) -> None:
        """Hand it on, or not."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure(*, quiet: bool = False) -> None:
    """Set up logging for this process."""
    interactive = sys.stderr.isatty()
    lines = _Lines()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.dev.ConsoleRenderer()] if interactive else [
        structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str),
    ]  # fmt: skip
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, lines)),
        cache_logger_on_first_use=True,
    )
    # What libraries log comes out in the same form.
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # that the store is away is said once, by us
