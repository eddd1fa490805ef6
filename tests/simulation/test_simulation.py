"""Thousands of fault schedules; each failing one is printed with the command that replays it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.receive.batch import Items
from gateway.receive.conversation import Conversation, Pause
from gateway.receive.journal import nothing
from gateway.receive.keeper import Keeper
from gateway.receive.pipeline import Pipeline
from gateway.receive.spool import Spool
from gateway.store.writer import Outcome
from tests.simulation.__main__ import judge
from tests.simulation.store import Tables

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 20_000 if os.environ.get("DOZOR_SOAK") else 300
FEW = 60  # here, under the eyes of coverage and of whoever breaks something


@pytest.mark.slow
def test_schedules() -> None:
    """In processes of their own, where no tracer slows them down."""
    jobs = str(min(2, os.cpu_count() or 1))
    run = subprocess.run(
        [sys.executable, "-m", "tests.simulation", f"{FEW}:{SEEDS}", "--jobs", jobs],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{SEEDS - FEW} seeds, 0 broken" in run.stderr


def test_first_schedules() -> None:
    broken = []
    for seed in range(FEW):
        problem, world = judge(seed)
        if problem:
            broken.append(f"{world.schedule}\n{problem}\nagain: python -m tests.simulation {seed} --trace")
    assert not broken, "\n\n".join(broken)


def test_same_seed_same_run() -> None:
    here = {seed: judge(seed)[1].digest for seed in range(12)}
    assert len(set(here.values())) == len(here)
    assert here == {seed: judge(seed)[1].digest for seed in here}
    for hashing in ("1", "2"):  # nor does it depend on the process
        run = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "7"],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
            env={**os.environ, "PYTHONHASHSEED": hashing},
        )  # fmt: skip
        assert here[7] in run.stdout


def test_trace_tells_what_happened() -> None:
    _, world = judge(3, trace=True)
    assert world.trace is not None
    assert any(" acked " in line for line in world.trace)
    assert any(" store write " in line for line in world.trace)
    assert str(world.schedule).startswith("seed 3:")


# -- the check can fail: the product, broken on purpose, is caught ---------------------------------------------------


def _caught(most: int = 150) -> str:
    for seed in range(most):
        problem, _ = judge(seed)
        if problem:
            return problem
    return ""


def test_acknowledging_what_was_not_kept_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Keeper.keep

    async def careless(self: Keeper, work: Any, let_go: Any) -> Outcome | None:
        kept = await keep(self, work, let_go)
        return nothing(3) if kept is None else kept

    monkeypatch.setattr(Keeper, "keep", careless)
    assert "acknowledged and lost" in _caught()


def test_acknowledging_before_the_fsync_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Spool.append

    async def hasty(self: Spool, entries: Any) -> None:
        task = asyncio.get_running_loop().create_task(append(self, entries))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())

    monkeypatch.setattr(Spool, "append", hasty)
    assert "acknowledged and lost" in _caught()


def test_acknowledging_before_the_commit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Pipeline._commit

    async def hasty(self: Pipeline, taken: Any) -> None:
        taken.works = taken.works or await self._prepare(taken.items, taken.arrived)
        for work in taken.works:
            await self._release(work, nothing(3))
            work.items = Items([])
        await commit(self, taken)

    monkeypatch.setattr(Pipeline, "_commit", hasty)
    assert "acknowledged and lost" in _caught()


def test_acks_out_of_order_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Pipeline._commit

    async def eager(self: Pipeline, taken: Any) -> None:
        taken.previous = None
        await commit(self, taken)

    monkeypatch.setattr(Pipeline, "_commit", eager)
    assert _caught(400)


def test_a_store_that_keeps_resends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Tables.commit

    def forgetful(self: Tables, job: Any, partly: float = 1.0) -> Outcome:
        self.records.clear()  # no unique key
        return commit(self, job, partly)

    monkeypatch.setattr(Tables, "commit", forgetful)
    assert "times" in _caught()


def test_reading_on_without_room_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "full", property(lambda self: False))
    assert "read on" in _caught()


@pytest.mark.soak
def test_a_window_that_opens_too_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conversation, "resume_reading", lambda self: self._resume(Pause.QUEUE))
    assert "window" in _caught(600)


def test_a_gateway_that_never_looks_for_its_store_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(self: Keeper) -> bool:
        return False

    monkeypatch.setattr(Keeper, "_look", idle)
    assert _caught()


def test_a_spool_that_is_never_drained_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idle(self: Keeper) -> bool:
        return False

    monkeypatch.setattr(Keeper, "_drain_some", idle)
    assert "spooled" in _caught()


def test_a_drain_that_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry dropped without having been stored."""
    oldest = Spool.oldest

    async def lossy(self: Spool, limit: int) -> Any:
        await oldest(self, limit)
        entries = await oldest(self, 1)
        if entries:
            await self.drained(1)
        return []

    monkeypatch.setattr(Spool, "oldest", lossy)
    assert "acknowledged and not in the store" in _caught()


def test_a_drain_that_repeats_itself_for_ever_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stubborn(self: Keeper, entries: Any, error: Exception) -> bool:
        return False

    monkeypatch.setattr(Keeper, "_stumbled", stubborn)
    assert "not settled" in _caught(400)
