"""Parts that fail: started again after a pause, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import GatewayError
from gateway.parts import Parts, Supervisor

QUICK = (0.01, 0.04)  # s


class Part:
    """Fails as told, then works; remembers when it was begun."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.begun: list[float] = []
        self.works = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.append(asyncio.get_running_loop().time())
        if self.failures:
            raise self.failures.pop(0)
        self.works.set()
        await asyncio.Event().wait()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_one_that_fails_is_begun_again_and_cancels_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        supervisor = Supervisor(QUICK)
        bad, good = Part(*[ValueError("a letter")] * 3), Part()
        together = asyncio.create_task(supervisor.together({"bad": bad, "good": good}))
        await bad.works.wait()
        assert (len(bad.begun), len(good.begun)) == (4, 1)
        assert supervisor.failures == {"bad": 3, "good": 0}
        together.cancel()
        await asyncio.wait({together})
        assert together.cancelled()

    run(scenario)
    assert capsys.readouterr().out.count("part failed") == 3


def test_the_pause_grows_to_a_bound_and_begins_anew_after_good_times(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    slept = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await slept(0)

    class Late(Part):
        async def __call__(self) -> None:
            if len(self.begun) == 5:
                await slept(0.2)
            await super().__call__()

    async def scenario() -> None:
        part = Late(*[KeyError("x")] * 7)
        keeping = asyncio.create_task(Supervisor((0.025, 0.1)).keep("part", part))
        await part.works.wait()
        keeping.cancel()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    run(scenario)
    assert pauses == [0.025, 0.05, 0.1, 0.1, 0.1, 0.025, 0.05]


def test_a_cancellation_that_nobody_asked_for_is_a_failure_too() -> None:
    async def scenario() -> None:
        supervisor = Supervisor(QUICK)
        part = Part(asyncio.CancelledError())
        keeping = asyncio.create_task(supervisor.keep("part", part))
        await part.works.wait()
        assert supervisor.failures["part"] == 1
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping

    run(scenario)


def test_one_that_returns_is_done() -> None:
    async def scenario() -> None:
        async def done() -> None:
            return

        await Supervisor(QUICK).together({"a": done, "b": done})

    run(scenario)


def test_only_what_data_cannot_do_without_ends_the_process() -> None:
    async def scenario() -> None:
        parts = Parts()
        parts.supervisor = Supervisor(QUICK)
        kept = Part(ValueError("kept"))
        parts.kept("kept", kept)
        await kept.works.wait()
        assert not parts.failed.done()

        async def fails() -> None:
            raise ValueError("needed")

        parts.background("needed", fails())
        with pytest.raises(GatewayError, match="needed failed"):
            await parts.failed
        await parts.stop()

    run(scenario)


def test_what_is_stopped_ends_the_newest_first_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """A part that ends badly when it is told to is no news; neither is one that never ran."""
    ended: list[str] = []

    async def scenario() -> None:
        parts = Parts()

        async def work(name: str, error: BaseException | None = None) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
                if error is not None:
                    raise error

        parts.background("first", work("first"))
        parts.background("second", work("second", ValueError("at its end")))
        parts.background("third", work("third", KeyError("too")))
        parts.callback(ended.append, "callback")
        parts.kept("last", lambda: work("last"))
        await asyncio.sleep(0)
        tasks = {task.get_name(): task for task in asyncio.all_tasks()}
        await parts.stop()
        assert all(tasks[name].done() for name in ("first", "second", "third", "last"))
        assert not parts.failed.done()

    run(scenario)
    assert ended == ["last", "callback", "third", "second", "first"]
    assert "part failed" not in capsys.readouterr().out


def test_the_first_failure_is_the_reason() -> None:
    async def scenario() -> None:
        parts = Parts()

        async def fails(text: str) -> None:
            raise ValueError(text)

        parts.background("one", fails("the first"))
        parts.background("two", fails("the second"))
        await asyncio.sleep(0.01)
        parts.fail("a third")
        with pytest.raises(GatewayError, match="one failed: ValueError\\('the first'\\)"):
            await parts.failed
        await parts.stop()

    run(scenario)
