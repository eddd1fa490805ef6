"""What is asked of the registry, and what becomes of those who wait while it does not answer or refuses one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import structlog

from gateway.receive import enrolment as module
from gateway.receive.enrolment import Enrolment


class Registry:
    """Table and memory in one; refuses `bad`, and does not answer while it is not `up`."""

    def __init__(self, policy: str = "accept") -> None:
        self.pool: Any = self
        self.policy = policy
        self.rows: dict[str, int] = {}
        self.bad: set[str] = set()
        self.error: Exception = psycopg.errors.CheckViolation("odd")
        self.up = True
        self.free = asyncio.Event()
        self.free.set()
        self.tried: list[list[str]] = []
        self.tried_often = asyncio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        if not self.up:
            self.tried.append([])
            if len(self.tried) == 5:
                self.tried_often.set()
            raise psycopg.OperationalError("away")
        yield None

    async def find(self, link: Any, identities: Sequence[str]) -> None:
        await self.free.wait()

    async def register(self, link: Any, wanted: Mapping[str, str]) -> None:
        self.tried.append(list(wanted))
        if self.bad & wanted.keys():
            raise self.error
        for identity in wanted:
            self.rows[identity] = len(self.rows) + 1


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def run(act: Callable[[Registry, Enrolment], Coroutine[Any, Any, None]], policy: str = "accept") -> None:
    async def go() -> None:
        registry = Registry(policy)
        async with asyncio.timeout(20):
            await act(registry, Enrolment(registry))

    asyncio.run(go())


async def together(registry: Registry, enrolment: Enrolment, identities: Sequence[str]) -> list[Any]:
    """Logins that share a statement."""
    return await asyncio.gather(*[enrolment.ask(identity, "teltonika", None) for identity in identities])


@pytest.mark.parametrize(
    "error",
    [psycopg.errors.CheckViolation("odd"), psycopg.errors.UntranslatableCharacter("odd"), psycopg.DataError("odd")],
    ids=lambda error: type(error).__name__,
)
def test_one_that_is_refused_is_found_by_halves(error: Exception, logged: list[dict[str, Any]]) -> None:
    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.bad, registry.error = {"t7"}, error
        names = [f"t{n}" for n in range(64)]
        answers = await together(registry, enrolment, names)
        assert [name for name, (result, row) in zip(names, answers, strict=True) if result == "impossible"] == ["t7"]
        assert all(row == registry.rows[name] for name, (_, row) in zip(names, answers, strict=True) if name != "t7")
        tried = len(registry.tried)
        assert tried <= 2 * 6 + 1
        assert await enrolment.ask("t7", "teltonika", None) == ("impossible", None)
        assert len(registry.tried) == tried, "not asked again at once"

    run(act)
    assert [(line["event"], line["terminal"]) for line in logged] == [("the registry refuses a terminal", "t7")]


def test_one_that_was_refused_is_asked_about_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has mended the constraint meanwhile: nobody else has to be refused before the terminal is let in."""

    async def go() -> None:  # with no time limit: the loop's time is set ahead
        registry = Registry()
        enrolment = Enrolment(registry)
        loop, ahead = asyncio.get_running_loop(), [0.0]
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + ahead[0])
        registry.bad = {"t"}
        for refused in range(1, 4):
            assert (await enrolment.ask("t", "teltonika", None))[0] == "impossible"
            assert len(registry.tried) == refused
            ahead[0] += module._REMEMBERED / 2
            assert (await enrolment.ask("t", "teltonika", None))[0] == "impossible"
            assert len(registry.tried) == refused, "not within the minute"
            ahead[0] += module._REMEMBERED / 2 + 1
        registry.bad = set()
        assert await enrolment.ask("t", "teltonika", None) == ("accepted", 1)

    asyncio.run(go())


def test_many_that_are_refused_fill_no_log(logged: list[dict[str, Any]]) -> None:
    async def act(registry: Registry, enrolment: Enrolment) -> None:
        names = [f"t{n}" for n in range(200)]
        registry.bad = set(names)
        assert {result for result, _ in await together(registry, enrolment, names)} == {"impossible"}

    run(act)
    assert len(logged) == module._LINES


def test_no_answer_is_told_once_and_all_are_in_when_it_comes(
    logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.04))

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.up = False
        waiting = asyncio.create_task(together(registry, enrolment, ["a", "b"]))
        begun = asyncio.get_running_loop().time()
        await registry.tried_often.wait()
        assert asyncio.get_running_loop().time() - begun > 0.01 + 0.02 + 0.04, "it is not asked as fast as it can be"
        registry.up = True
        assert [result for result, _ in await waiting] == ["accepted"] * 2
        await asyncio.sleep(0)

    run(act)
    assert [line["event"] for line in logged] == [
        "the registry does not answer: new logins wait", "the registry answers again",
    ]  # fmt: skip


def test_a_bug_lets_these_not_in_and_the_next_ones_are_tried(logged: list[dict[str, Any]]) -> None:
    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.bad, registry.error = {"b"}, ZeroDivisionError("a bug")
        assert await together(registry, enrolment, ["a", "b", "c"]) == [("impossible", None)] * 3
        assert await enrolment.ask("d", "teltonika", None) == ("accepted", 1)
        assert await enrolment.ask("a", "teltonika", None) == ("accepted", 2), "it was not their fault"

    run(act)
    assert [line["event"] for line in logged] == ["logins failed"]


def test_a_registry_that_hangs_is_asked_again(logged: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.02))
    monkeypatch.setattr(module, "_TIMEOUT", 0.05)

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.free.clear()
        waiting = asyncio.create_task(together(registry, enrolment, ["a", "b"]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        registry.free.set()
        assert [result for result, _ in await waiting] == ["accepted"] * 2

    run(act)
    assert [line["event"] for line in logged][:1] == ["the registry does not answer: new logins wait"]
    assert logged[0]["error"] == "TimeoutError"


def test_who_is_known_waits_for_nobody_who_cannot_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one statement with a new one, while the registry takes no new ones: it is known to the table, not here."""
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.04))

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        async def find(link: Any, identities: Sequence[str]) -> None:
            registry.rows.update({"known": 7} if "known" in identities else {})

        monkeypatch.setattr(registry, "find", find)
        registry.bad, registry.error = {"new"}, psycopg.errors.InsufficientPrivilege("not yours")
        new = asyncio.create_task(enrolment.ask("new", "teltonika", None))
        assert await enrolment.ask("known", "teltonika", None) == ("accepted", 7)
        assert not new.done()
        registry.bad = set()
        assert (await new)[0] == "accepted"

    run(act)


def test_the_pause_begins_anew_after_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    slept = asyncio.sleep

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            registry.up = len(pauses) in (3, 5)
            await slept(0)

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        monkeypatch.setattr(module, "_BATCH", 1)
        find = registry.find

        async def found(link: Any, identities: Sequence[str]) -> None:
            await find(link, identities)
            registry.up = len(pauses) >= 5  # away again behind the first

        monkeypatch.setattr(registry, "find", found)
        registry.up = False
        assert [result for result, _ in await together(registry, enrolment, ["a", "b"])] == ["accepted"] * 2

    run(act)
    assert pauses == [0.5, 1.0, 2.0, 0.5, 1.0]


def test_failing_is_known_after_a_while_and_believed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.01))

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        loop = asyncio.get_running_loop()
        ahead = [0.0]
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + ahead[0])
        registry.up = False
        waiting = asyncio.create_task(enrolment.ask("a", "teltonika", None))
        await registry.tried_often.wait()
        assert not enrolment.failing, "a hiccup is none"
        registry.tried.clear()
        registry.tried_often.clear()
        ahead[0] = module._FAILING
        assert enrolment.failing
        await registry.tried_often.wait()
        assert enrolment.failing, "it goes on"
        waiting.cancel()
        await asyncio.wait({waiting})
        ahead[0] += module._TRIED - 1
        assert enrolment.failing, "nobody has been admitted since"
        ahead[0] += 1
        assert not enrolment.failing, "nobody has asked for long: not known any more"
        registry.tried_often.clear()
        registry.tried.clear()
        waiting = asyncio.create_task(enrolment.ask("b", "teltonika", None))
        await registry.tried_often.wait()
        assert enrolment.failing, "and it never was any better"
        registry.up = True
        await waiting
        assert not enrolment.failing
        registry.bad = {"c"}
        assert (await enrolment.ask("c", "teltonika", None))[0] == "impossible"
        ahead[0] += module._FAILING
        assert not enrolment.failing, "one that is refused says nothing of the others"

    async def go() -> None:  # with no time limit: the loop's time is set ahead
        registry = Registry()
        await act(registry, Enrolment(registry))

    asyncio.run(go())


def test_whoever_gives_up_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", (0.01, 0.01))

    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.up = False
        for n in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await enrolment.ask(f"t{n}", "teltonika", None)
        assert not enrolment._wanted
        registry.up = True
        registry.tried.clear()
        assert (await enrolment.ask("late", "teltonika", None))[0] == "accepted"
        assert registry.tried[-1] == ["late"]
        assert registry.rows.keys() == {"late"}

    run(act)


def test_a_limit_is_asked_once_for_new_terminals_only() -> None:
    async def act(registry: Registry, enrolment: Enrolment) -> None:
        asked: list[str] = []

        def may(name: str, answer: bool) -> Callable[[], bool]:
            return lambda: not asked.append(name) and answer  # type: ignore[func-returns-value]

        registry.rows["known"] = 7
        registry.bad = {"a"}  # so that the others are asked for a second time
        names = {"known": True, "a": True, "b": True, "c": False}
        found = await asyncio.gather(*[enrolment.ask(name, "", may(name, answer)) for name, answer in names.items()])
        assert [result for result, _ in found] == ["accepted", "impossible", "accepted", "limited"]
        assert sorted(asked) == ["a", "b", "c"]
        registry.free.clear()
        refused = asyncio.create_task(enrolment.ask("d", "", may("d", False)))
        await asyncio.sleep(0)
        drained = asyncio.create_task(enrolment.ask("d", "", None))  # what was acknowledged is stored all the same
        await asyncio.sleep(0)
        registry.free.set()
        assert (await refused, await drained) == (("accepted", registry.rows["d"]),) * 2

    run(act)


@pytest.mark.parametrize(("policy", "result"), [("known", "refused"), ("quarantine", "quarantined")])
def test_who_is_not_registered_by_policy(policy: str, result: str) -> None:
    async def act(registry: Registry, enrolment: Enrolment) -> None:
        registry.rows["known"] = 7
        assert await enrolment.ask("known", "", None) == ("accepted", 7)
        assert await enrolment.ask("new", "", None) == (result, None)
        assert not registry.tried

    run(act, policy)
