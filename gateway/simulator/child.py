"""A fleet in a process of its own, for a parent that also runs the gateway.

    stdin   first line: {"scenario": {…}, "targets": {…}, "exclude": […], "folder": "…"}; then "stop" ends the run with
            its summary
    stdout  one JSON object a line: {"event": "fault" | "progress" | "end", …}

The end of stdin ends the process at once. It means that the parent was killed: then `folder`, the parent's temporary
one, is removed with the embedded store in it, since nobody else is left to do it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from gateway.simulator.run import FleetRun
from gateway.simulator.scenario import Scenario
from gateway.simulator.truth import Fault, Truth
from gateway.store.embedded import EmbeddedServer

_LINE = 1 << 20  # of the parent: a scenario and its targets


def _tell(event: str, content: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps({"event": event, **content}, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return  # the parent is gone: the end of stdin says so too, and what to do then


def _clean_up(folder: str) -> None:
    if folder:
        EmbeddedServer(Path(folder) / "data").stop()
        shutil.rmtree(folder, ignore_errors=True)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    order = json.loads(await reader.readline())
    truth = Truth()

    def on_fault(fault: Fault) -> None:
        _tell("fault", fault.as_json())

    run = FleetRun(
        msgspec.convert(order["scenario"], Scenario), order["targets"], truth=truth,
        exclude=set(order.get("exclude", ())), on_fault=on_fault,
    )  # fmt: skip
    run.start()
    word = loop.create_task(reader.readline())
    while not word.done():
        await asyncio.wait({word}, timeout=1.0)
        _tell(
            "progress",
            {name: truth.total(name) for name in ("logins", "frames_acked", "records_sent", "records_acked")},
        )
    if word.result().strip() != b"stop":
        _clean_up(order.get("folder", ""))
        os._exit(1)  # nobody is there to be told; sockets close with the process
    await run.stop(drain=2.0)
    _tell("end", {"terminals": len(run.fleet), **truth.summary()})


if __name__ == "__main__":
    # Signals may reach the whole group (Ctrl-C, timeout): the parent ends the run then, by a word or its death.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    uvloop.run(_main())
