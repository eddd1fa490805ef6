"""Conversations without a socket: a wire that writes down what it is asked, on a pipeline whose store is the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psycopg

from gateway.configuration.reading import load
from gateway.configuration.settings import Limits, Settings
from gateway.metrics import ReceiveMetrics
from gateway.receive.conversation import Conversation
from gateway.receive.conversations import Conversations
from gateway.receive.disk import Directory
from gateway.receive.history import History
from gateway.receive.pipeline import Pipeline
from gateway.receive.spool import Spool
from gateway.receive.terminals import Terminals
from gateway.store.writer import Job, Outcome
from protocols.registry import RECEIVED, protocol
from protocols.teltonika.declaration import CODEC_8, avl_payload, avl_record, tcp_frame

IMEI = "356938035643809"
NAMES = list(RECEIVED)


class Wire:
    """A wire, and what was asked of it."""

    def __init__(self) -> None:
        self.sent = b""
        self.asked: list[str] = []

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def close(self) -> None:
        self.asked.append("close")

    def abort(self) -> None:
        self.asked.append("abort")


class Store:
    """In place of writer and registry: takes everything while it is up, and holds answers back while it is told to."""

    def __init__(self) -> None:
        self.up = True
        self.jobs: list[Job] = []
        self.asked = asyncio.Event()  # a job has come
        self.answers = asyncio.Event()
        self.answers.set()
        self.refuses: Callable[[Job], list[int]] = lambda job: []
        self.rows: dict[str, int] = {}

    async def open(self) -> Any:
        if not self.up:
            raise psycopg.OperationalError("away")
        return self

    async def execute(self, *_: Any) -> None:
        if not self.up:
            raise psycopg.OperationalError("away")

    async def close(self) -> None:
        """Nothing to give back."""

    async def write(self, link: Any, job: Job, now: int) -> Outcome:
        if not self.up:
            raise psycopg.OperationalError("away")
        self.asked.set()
        await self.answers.wait()
        self.jobs.append(job)
        nothing = np.zeros(len(NAMES), np.int64)
        return Outcome(nothing, nothing.copy(), refused=self.refuses(job))

    rewrite = write


class World:
    """What a process has around its conversations."""

    def __init__(self, folder: Path, settings: Settings, processes: int) -> None:
        self.store = Store()
        self.settings = settings
        self.metrics = ReceiveMetrics(NAMES)
        self.terminals = Terminals(None, settings.login.policy)  # type: ignore[arg-type]  # nobody asks the database
        self.terminals.rows[IMEI] = 1
        self.spool = Spool(Directory(folder), 1 << 20)
        self.history = History(None, self.terminals, "here")  # type: ignore[arg-type]
        self.pipeline = Pipeline(
            self.store.open, self.store, self.spool, [protocol(name) for name in NAMES], self.metrics,  # type: ignore[arg-type]
            self.terminals.rows, self.terminals.resolve,
        )  # fmt: skip
        self.shared = Conversations(
            settings, [protocol(name) for name in NAMES], self.pipeline, self.terminals, self.history, self.metrics,
            processes=processes,
        )  # fmt: skip

    def begin(self, name: str = "teltonika", address: str = "192.0.2.1:4000") -> tuple[Conversation, Wire]:
        """A conversation over a wire."""
        conversation, wire = Conversation(self.shared, NAMES.index(name), "tcp"), Wire()
        conversation.address, conversation.opened = address, self.shared.now()
        conversation.begin(wire)
        return conversation, wire


def settings(**limits: int) -> Settings:
    """The default ones, with other `[limits]`."""
    found = load(None, {"DOZOR_DATA_DIR": "/nonexistent"}, implicit=False)
    changed: Limits = msgspec.structs.replace(found.limits, **limits)
    return msgspec.structs.replace(found, limits=changed)


def converse(
    folder: Path, act: Callable[[World], Coroutine[Any, Any, None]], processes: int = 1, **limits: int
) -> None:
    """Run `act` in a world of its own."""

    async def run() -> None:
        world = World(folder, settings(**limits), processes)
        await world.spool.open()
        async with asyncio.timeout(20):
            await act(world)
            await world.pipeline.drain()
        await world.pipeline.close()

    asyncio.run(run())


def frame(records: int = 1, at: int = 1_700_000_000_000) -> bytes:
    """A Teltonika frame."""
    rows = [
        avl_record(timestamp=at + n, latitude=0, longitude=0, altitude=0, angle=0, satellites=5, speed=0, items=())
        for n in range(records)
    ]
    return tcp_frame(avl_payload(CODEC_8, rows))
