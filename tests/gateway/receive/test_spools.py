"""Spools that lost their process are handed to those there are, whole and in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.receive.spool import Directory, Entry, Spool
from gateway.receive.spools import SpoolLock, adopt, spool_directory


def _fill(folder: Path, *names: str) -> None:
    async def fill() -> None:
        spool = Spool(Directory(folder), 1 << 20)
        await spool.open()
        for name in names:
            await spool.append([Entry("teltonika", name, 1, b"frame")])

    asyncio.run(fill())


def _terminals(folder: Path) -> list[str]:
    async def read() -> list[str]:
        spool = Spool(Directory(folder), 1 << 20)
        await spool.open()
        found: list[str] = []
        while entries := await spool.oldest(100):
            found += [entry.terminal for entry in entries]
            await spool.drained(len(entries))
        return found

    return asyncio.run(read())


def test_fewer_workers_take_over(tmp_path: Path) -> None:
    for worker in (1, 2, 3, 4):
        _fill(spool_directory(tmp_path, worker), f"a{worker}", f"b{worker}")
    assert adopt(tmp_path, 2) == 2
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["worker-1", "worker-2"]
    assert _terminals(spool_directory(tmp_path, 1)) == ["a1", "b1", "a3", "b3"]
    assert _terminals(spool_directory(tmp_path, 2)) == ["a2", "b2", "a4", "b4"]


def test_from_several_to_one_and_back(tmp_path: Path) -> None:
    for worker in (1, 2):
        _fill(spool_directory(tmp_path, worker), f"a{worker}")
    assert adopt(tmp_path, 1) == 2
    assert adopt(tmp_path, 1) == 0
    assert sorted(path.name for path in (tmp_path / "spool").iterdir()) == ["00000001.spool", "00000002.spool"]
    assert adopt(tmp_path, 3) == 2
    assert _terminals(spool_directory(tmp_path, 1)) + _terminals(spool_directory(tmp_path, 2)) == ["a1", "a2"]


def test_nothing_to_take_over(tmp_path: Path) -> None:
    assert adopt(tmp_path, 2) == 0
    (tmp_path / "spool" / "worker-9").mkdir(parents=True)
    (tmp_path / "spool" / "worker-9" / "probe").write_bytes(b"")
    assert adopt(tmp_path, 1) == 0
    assert (tmp_path / "spool" / "worker-9" / "probe").exists(), "not ours to remove"


def test_a_spool_has_one_process(tmp_path: Path) -> None:
    first, second = SpoolLock(tmp_path / "spool"), SpoolLock(tmp_path / "spool")
    first.acquire()
    with pytest.raises(GatewayError, match="in use by another process"):
        second.acquire(patience=0.1)
    first.release()
    second.acquire(patience=0.1)
    second.release()
