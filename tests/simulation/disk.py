"""The spool's disk: what was fsynced survives a crash, of the rest anything may be left.

Modes: `error` (EIO; a part may have been written), `full` (ENOSPC, likewise), `slow` (an fsync takes seconds), `stall`
(nothing returns until the phase ends).
"""

from __future__ import annotations

import asyncio
import errno
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import Life, World


class Platter:
    """What lies on the disk, over all lives of the process."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.files: dict[str, bytearray] = {}
        self.durable: dict[str, int] = {}  # how many first bytes survive a crash for certain
        self.unlinked: dict[str, bytes] = {}  # durable once, may come back
        self.spoilt: set[str] = set()  # an fsync failed: what a later one says of this file proves nothing

    def crash(self) -> None:
        """The power went: of what was not fsynced, something, nothing, or zeros where it was to stand."""
        chance = self.chance
        for name, data in self.unlinked.items():
            if name not in self.files and chance.random() < 0.5:
                self.files[name], self.durable[name] = bytearray(data), len(data)
        self.unlinked.clear()
        for name in list(self.files):
            data, kept = self.files[name], self.durable.get(name, 0)
            rest = len(data) - kept
            if rest:
                written = chance.randint(0, rest)
                how = chance.random()
                if how < 0.3:
                    written = 0
                del data[kept + written :]
                if how > 0.7:  # the size was written, the blocks were not
                    data += bytes(rest - written)
            if not data and not kept:
                del self.files[name]
                continue
            self.durable[name] = len(data)
        self.spoilt.clear()

    def holds(self, form: bytes) -> bool:
        """Whether these bytes would survive a crash now."""
        return any(data.find(form, 0, self.durable.get(name, 0)) >= 0 for name, data in self.files.items())

    def size(self) -> int:
        return sum(map(len, self.files.values()))


class SimulatedDisk:
    """`gateway.receive.spool.Disk` for one life of the process."""

    def __init__(self, world: World, life: Life, platter: Platter) -> None:
        self._world, self._life, self._platter = world, life, platter
        self._chance = platter.chance

    async def _begin(self, what: str) -> str:
        """Wait as long as it takes; the mode that decides the outcome."""
        self._life.check()
        world = self._world
        phase = world.schedule.disk_mode(world.elapsed)
        mode = phase.mode if phase else "well"
        wait = self._chance.uniform(0.0002, 0.004)
        if mode == "slow":
            wait = self._chance.uniform(0.3, 4.0)
        elif mode == "stall" and phase is not None:
            wait = phase.end - world.elapsed + wait
        world.note("disk", what, mode)
        self._life.step("before")
        await asyncio.sleep(wait)
        self._life.check()
        return mode

    def _fail(self, mode: str) -> None:
        if mode == "error":
            raise OSError(errno.EIO, "scripted")
        if mode == "full":
            raise OSError(errno.ENOSPC, "scripted")

    async def list(self) -> list[str]:
        await self._begin("list")
        return sorted(self._platter.files)

    async def read(self, name: str) -> bytes:
        mode = await self._begin(f"read {name}")
        if mode == "error":
            self._fail(mode)
        return bytes(self._platter.files[name])

    async def tail(self, name: str, count: int) -> tuple[bytes, int]:
        mode = await self._begin(f"tail {name}")
        if mode == "error":
            self._fail(mode)
        data = self._platter.files[name]
        return bytes(data[-count:]), len(data)

    async def append(self, name: str, data: bytes) -> None:
        platter = self._platter
        mode = await self._begin(f"append {name} {len(data)}")
        fresh = name not in platter.files
        file = platter.files.setdefault(name, bytearray())
        if mode in ("error", "full"):
            if self._chance.random() < 0.5:
                file += data[: self._chance.randint(0, len(data))]
                platter.spoilt.add(name)
            elif mode == "error":  # all written, not fsynced
                file += data
                platter.spoilt.add(name)
            elif fresh:
                del platter.files[name]
            self._fail(mode)
        file += data
        self._life.step("half way through")
        if name not in platter.spoilt:
            platter.durable[name] = len(file)
        if fresh:
            platter.unlinked.clear()  # the directory was fsynced
        self._life.step("after")

    async def truncate(self, name: str, size: int) -> None:
        platter = self._platter
        mode = await self._begin(f"truncate {name} {size}")
        self._fail("error" if mode == "error" else "")
        del platter.files[name][size:]
        platter.durable[name] = min(size, len(platter.files[name]))
        self._life.step("after")

    async def remove(self, name: str) -> None:
        platter = self._platter
        mode = await self._begin(f"remove {name}")
        if mode == "error" and self._chance.random() < 0.5:
            self._fail(mode)
        data = platter.files.pop(name, None)
        kept = platter.durable.pop(name, 0)
        platter.spoilt.discard(name)
        if data is not None and kept:
            platter.unlinked[name] = bytes(data[:kept])
        self._life.step("after")
