"""The process that passes records on. The service starts it as `python -m gateway.egress.child PARENT`.

    stdin    one line, `setup_line`; its end is the end of the service
    stdout   a line each second, what there is to say of each consumer: `Report` in JSON

A process of its own, since encoding and publishing would take the time of the loop that receives. It ends with the
service, also when that is killed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Sequence

import msgspec

from gateway import log
from gateway.configuration.carriers import Egress
from gateway.egress.sending import Sender, Stats
from gateway.metrics import process_numbers
from gateway.parts import Supervisor, die_with

PERIOD = 1.0  # s between reports


class Report(msgspec.Struct):
    """What the process says of its consumers, and of itself (`gateway.metrics.process_numbers`)."""

    consumers: list[Stats]
    process: dict[str, float]


def setup_line(dsn: str, consumers: Sequence[Egress]) -> bytes:
    """What the process is to do; over a pipe, since a DSN and a URL may hold passwords."""
    return base64.b64encode(pickle.dumps((dsn, list(consumers)))) + b"\n"


async def _run(dsn: str, consumers: Sequence[Egress]) -> None:
    loop = asyncio.get_running_loop()
    senders = [Sender(dsn, consumer) for consumer in consumers]
    supervisor = Supervisor()
    work = asyncio.ensure_future(supervisor.together({f"egress {s.stats.name}": s.run for s in senders}))
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    loop.add_reader(sys.stdin.fileno(), os._exit, 1)  # the service is gone without a word
    reporting = loop.create_task(_report(senders))
    with contextlib.suppress(asyncio.CancelledError):
        await work
    reporting.cancel()
    _tell(senders)


async def _report(senders: Sequence[Sender]) -> None:
    while True:
        _tell(senders)
        await asyncio.sleep(PERIOD)


def _tell(senders: Sequence[Sender]) -> None:
    report = Report([sender.stats for sender in senders], process_numbers())
    os.write(sys.stdout.fileno(), msgspec.json.encode(report) + b"\n")  # a line fits the pipe, and is read at once


def main() -> int:
    """Pass records on until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a group's Ctrl-C is meant for the service, which tells us
    die_with(int(sys.argv[1]))
    log.configure()
    dsn, consumers = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))  # noqa: S301  # our own parent's
    asyncio.run(_run(dsn, consumers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
