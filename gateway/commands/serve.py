"""`dozor serve`: run the service in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial

import structlog

from gateway import log
from gateway.commands.common import load_settings
from gateway.configuration.settings import Settings

STOP_WITHIN = 12.0  # s from SIGTERM to the end, whatever happens

MOST = 128
MOST_EMBEDDED = 12  # each takes up to six connections of the embedded server's hundred


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--workers", type=int, metavar="N",
        help="receiving processes on the same ports, apart from the watch and the desk (all in one process)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; 0 after an orderly end, 2 if it cannot start."""
    settings = load_settings(args)
    most = MOST if settings.store.dsn else MOST_EMBEDDED
    if args.workers is not None and not 1 <= args.workers <= most:
        print(f"dozor serve: --workers {args.workers}: take a number from 1 to {most}", file=sys.stderr)
        return 2
    log.configure()
    again = partial(load_settings, args)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, args.workers or 0, again))
    except ImportError:  # stock asyncio works too, more slowly
        asyncio.run(_serve(settings, args.workers or 0, again))
    return 0


async def _serve(settings: Settings, workers: int, load: Callable[[], Settings]) -> None:
    from gateway.service.app import Service, run_until
    from gateway.service.greeting import greet
    from gateway.service.reload import Reloader

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    service = Service(settings, workers)
    reloader = Reloader(service.reload, load)
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)  # before it is ready: reloaded once it is
    starting = asyncio.create_task(service.start())

    def cut() -> None:  # a store elsewhere that hangs can hold the end up
        structlog.get_logger().warning("stopped at the deadline", seconds=STOP_WITHIN)
        service.cut()
        os._exit(0)

    def ask_to_stop() -> None:
        if not stop.is_set():
            loop.call_later(STOP_WITHIN, cut)
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
    await greet(service)
    reloading = asyncio.create_task(reloader.run())
    try:
        await run_until(service, stop)
    finally:
        reloading.cancel()
        await asyncio.wait([reloading])
