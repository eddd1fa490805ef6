"""A way to PostgreSQL that is slow, or breaks where it hurts most."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Any

from tests.harness import free_port

_COPY_BEGINS = b"PGCOPY\n\xff"
_COPY_DONE = b"COPY "  # the command tag in CommandComplete
_COMMITTED = b"COMMIT\0"


class StoreProxy:
    """TCP on loopback to a server's Unix socket, in a thread of its own.

    Attributes
    ----------
    delay : s added to each answer of the server.
    trouble : share of the writers' COPYs that meet with an accident.
    cut, swallowed : connections cut within a COPY; answers of a finished COPY or COMMIT that never arrived.
    """

    def __init__(self, socket_path: str, seed: str = "dozor") -> None:
        self.port = free_port()
        self.delay = 0.0
        self.trouble = 0.0
        self.cut = self.swallowed = 0
        self._path = socket_path
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> StoreProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)
        return self

    def __exit__(self, *_: Any) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(self._path)
            try:
                await _Link(self, reader, writer, up_reader, up_writer).run()
            finally:
                up_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # gone; the service sees the same
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    def accident(self) -> str:
        """What happens to the COPY that begins now."""
        if self._chance.random() >= self.trouble:
            return ""
        return self._chance.choice(["cut", "swallow"])


class _Link:
    """One connection."""

    def __init__(
        self,
        proxy: StoreProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._down, self._down_writer, self._up, self._up_writer = reader, writer, up_reader, up_writer
        self._is_writer = False
        self._swallow = False
        self._answers: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def run(self) -> None:
        """Until either side, or an accident, ends it."""
        tasks = [asyncio.create_task(pump()) for pump in (self._requests, self._collect, self._deliver)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await task

    async def _requests(self) -> None:
        while data := await self._down.read(1 << 16):
            self._is_writer = self._is_writer or b"dozor writer" in data
            if self._is_writer and _COPY_BEGINS in data:
                accident = self._proxy.accident()
                if accident == "cut":
                    self._proxy.cut += 1
                    self._up_writer.write(data[: data.index(_COPY_BEGINS) + len(_COPY_BEGINS) + 30])
                    await self._up_writer.drain()
                    return
                self._swallow = self._swallow or accident == "swallow"
            self._up_writer.write(data)
            await self._up_writer.drain()

    async def _collect(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await self._up.read(1 << 16):
            if self._swallow and (_COPY_DONE in data or _COMMITTED in data):
                self._proxy.swallowed += 1
                return
            self._answers.put_nowait((loop.time() + self._proxy.delay, data))

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._answers.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._down_writer.write(data)
            await self._down_writer.drain()
