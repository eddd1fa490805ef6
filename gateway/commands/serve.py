"""`dozor serve`: run the service in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from gateway import log
from gateway.commands.common import load_settings

MOST = 128
MOST_EMBEDDED = 12  # each takes up to six connections of the embedded server's hundred


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="receiving processes on the same ports (1)")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after an orderly end, 2 if it cannot start."""
    settings = load_settings(args)
    most = MOST if settings.store.dsn else MOST_EMBEDDED
    if not 1 <= args.workers <= most:
        print(f"dozor serve: --workers {args.workers}: take a number from 1 to {most}", file=sys.stderr)
        return 2
    log.configure()
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, args.workers))
    except ImportError:  # stock asyncio works too, more slowly
        asyncio.run(_serve(settings, args.workers))
    return 0


async def _serve(settings: object, workers: int) -> None:
    from gateway.app import Service, run_until
    from gateway.settings import Settings

    assert isinstance(settings, Settings)  # noqa: S101
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = Service(settings, workers)
    starting = asyncio.create_task(service.start())

    def ask_to_stop() -> None:
        stop.set()
        if not starting.done():
            starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    try:
        await starting
    except asyncio.CancelledError:
        if stop.is_set():
            return
        raise
    await run_until(service, stop)
