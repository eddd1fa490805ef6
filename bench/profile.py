"""Where the gateway's CPU time goes, per frame: ``python -m bench.profile [--terminals N …] [--protocol P]``.

Runs `dozor serve` with a meter around each step and the load of `make bench` against it. A step's time is its own, what
it calls that has a meter of its own taken off; the clock is the thread's CPU time, so a busy machine does not count,
and what the meter itself costs is taken off too. What no meter sees is the event loop and the kernel's socket work.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from bench import processes, report
from bench.ingest import Spoken
from bench.processes import Gateway
from protocols.registry import PROTOCOLS, protocol

# What is told · where it is.
STEPS = (
    ("read: sockets", "gateway.receive.sockets:Sockets._turn"),
    ("read: conversation, queue", "gateway.receive.conversation:Conversation.receive"),
    ("batch: gather, arrays", "gateway.receive.pipeline:Pipeline._launch"),
    ("batch: gather, arrays", "gateway.receive.batch:Batcher.prepare"),
    ("batch: gather, arrays", "gateway.receive.batch:Batcher.prepare_in_turns"),
    ("decode", "gateway.receive.batch:Batcher._decode"),
    ("write: which way, layouts", "gateway.store.writer:Writer.write"),
    ("write: encode", "gateway.store.writer:encode"),
    ("write: COPY, commit", "gateway.store.writer:Writer._copy"),
    ("release: order, histograms", "gateway.receive.pipeline:Pipeline._release"),
    ("release: acks", "gateway.receive.conversation:Conversation.committed"),
    ("release: socket writes", "gateway.receive.sockets:SocketTransport.write"),
    ("fleet state", "gateway.watch.role:WatchRole.committed"),
    ("tick", "gateway.watch.patrol:Patrol.tick"),
)
# And of each protocol's session.
_SESSION = (
    ("session: cut, checksum", "run"),
    ("session: cut, checksum", "receive_data"),
    ("acks: session", "acknowledge"),
)
_GC, _REST, _KERNEL = "garbage collection", "event loop", "of all that in the kernel"
_ENVIRONMENT = "BENCH_PROFILE"


class Meter:
    """CPU time of each step, its own."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}
        self._stack: list[list[int]] = []  # begun, taken by what it called
        self._names: list[str] = []
        self._clock = time.thread_time_ns
        self.cost = self.calls = 0
        self.cost = min(self._empty() for _ in range(5))
        self.spent.clear()

    def _empty(self) -> int:
        begun = self._clock()
        for _ in range(1000):
            self.enter("empty")
            self.leave()
        return (self._clock() - begun) // 1000

    def enter(self, name: str) -> None:
        """A step begins."""
        self._names.append(name)
        self._stack.append([self._clock(), 0])

    def leave(self) -> None:
        """The innermost step ends."""
        begun, inner = self._stack.pop()
        name = self._names.pop()
        took = self._clock() - begun
        self.calls += 1
        self.spent[name] = self.spent.get(name, 0) + took - inner - self.cost // 2
        if self._stack:  # a reading of the clock lies inside the step, another around it
            self._stack[-1][1] += took + self.cost // 2

    def collected(self, phase: str, _: dict[str, int]) -> None:
        """For `gc.callbacks`."""
        if phase == "start":
            self.enter(_GC)
        else:
            self.leave()

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` with the meter around it; of a coroutine only the time it runs."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def stepped(*args: Any, **kwargs: Any) -> Any:
                return await self._steps(name, function(*args, **kwargs))

            return stepped

        @functools.wraps(function)
        def whole(*args: Any, **kwargs: Any) -> Any:
            self.enter(name)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return whole

    @types.coroutine
    def _steps(self, name: str, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            self.enter(name)
            try:
                waits_for = work.send(value) if error is None else work.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                self.leave()
            try:
                value, error = (yield waits_for), None
            except BaseException as thrown:
                error = thrown


def find(place: str) -> tuple[Any, str]:
    """The object that has what stands at `place`, and its name there.

    Raises
    ------
    AttributeError
        If there is none.
    """
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    getattr(owner, last)
    return owner, last


def serve(file: Path) -> None:
    """`dozor serve` with meters; SIGUSR1 writes what they say."""
    meter = Meter()
    for name, place in STEPS:
        owner, last = find(place)
        setattr(owner, last, meter.around(name, getattr(owner, last)))
    for kind in {type(protocol(spoken).new_session()) for spoken in PROTOCOLS}:
        for name, last in _SESSION:
            setattr(kind, last, meter.around(name, getattr(kind, last)))
    gc.callbacks.append(meter.collected)

    def tell(number: int, frame: types.FrameType | None) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(
            json.dumps(
                {**meter.spent, "cpu": time.process_time_ns() - meter.calls * meter.cost, "system": os.times().system}
            )
        )
        fresh.rename(file)

    signal.signal(signal.SIGUSR1, tell)
    from gateway.cli import main as dozor

    sys.argv = ["dozor", "serve"]
    dozor()


class _Metered(Spoken):
    """The gateway, started through this module."""

    module = "bench.profile"

    def __init__(self, folder: Path, workers: int = 0) -> None:
        super().__init__(folder, workers)
        self.environment[_ENVIRONMENT] = str(folder / "profile.json")

    def told(self) -> dict[str, float]:
        """What the meters say now."""
        file = self.folder / "profile.json"
        file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        for _ in range(200):
            if file.exists():
                found: dict[str, float] = json.loads(file.read_text())
                return found
            time.sleep(0.01)
        raise RuntimeError("the metered gateway says nothing")


def _load(service: Gateway, terminals: int, window: int, records: int, seconds: float) -> list[str]:
    return [
        "bench.generator", "--port", str(service.port), "--terminals", str(terminals), "--window", str(window),
        "--records", str(records), "--seconds", str(seconds + 3), "--start-ms", str(service.next_ms),
        "--frames", str(int((seconds + 6) * (120_000 if records == 1 else 25_000))),
    ]  # fmt: skip


def _speakers(service: Gateway, name: str, terminals: int, seconds: float) -> list[str]:
    return [
        "bench.speakers", "--protocol", name, "--port", str(service.ports[name]), "--terminals", str(terminals),
        "--seconds", str(seconds + 3), "--start-ms", str(service.next_ms // 1000 * 1000),
        "--frames", str(int((seconds + 4) * 45_000)),
    ]  # fmt: skip


def measure(terminals: int, window: int, records: int, seconds: float, *, spoken: str | None = None) -> dict[str, Any]:
    """Microseconds per frame of each step; with `spoken` that protocol's terminals, a frame of a record in flight."""
    with processes.gateway(_Metered) as service:
        command = (
            _load(service, terminals, window, records, seconds)
            if spoken is None
            else _speakers(service, spoken, terminals, seconds)
        )
        load = processes.start(*command, stdout=subprocess.PIPE)
        try:
            first = terminals * (window + 2)
            while service.metric("dozor_frames_total") < first:
                if load.poll() is not None:
                    raise RuntimeError("the load has ended")
                time.sleep(0.05)
            before, frames = service.told(), service.metric("dozor_frames_total")
            batches = service.metric("dozor_commit_seconds_count")
            time.sleep(seconds)
            after, frames = service.told(), service.metric("dozor_frames_total") - frames
            batches = service.metric("dozor_commit_seconds_count") - batches
        finally:
            load.kill()
            load.communicate()
    spent = {name: (value - before.get(name, 0)) / 1000 / frames for name, value in after.items()}
    total, system = spent.pop("cpu"), spent.pop("system") * 1e9
    steps = dict(sorted(spent.items(), key=lambda item: -item[1]))
    steps[_REST] = total - sum(steps.values())
    return {"frames": frames, "frames_per_batch": frames / batches, "us": steps, "total": total, "kernel": system}


def main() -> None:
    """Measure one load and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--terminals", type=int, default=1000)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--records", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--protocol", choices=PROTOCOLS, help="that terminals speak, a frame of one record in flight")
    args = parser.parse_args()
    told = measure(args.terminals, args.window, args.records, args.seconds, spoken=args.protocol)
    rows = [[name, f"{value:.2f}", f"{100 * value / told['total']:.0f} %"] for name, value in told["us"].items()]
    rows += [
        ["all", f"{told['total']:.2f}", "100 %"],
        [_KERNEL, f"{told['kernel']:.2f}", f"{100 * told['kernel'] / told['total']:.0f} %"],
    ]
    print(
        f"{args.terminals} terminals, {args.window} in flight, {args.records} records; {told['frames']:,.0f} frames, "
        f"{told['frames_per_batch']:.0f} a batch"
    )
    print(report.table(["CPU per frame", "µs", "share"], rows))


if __name__ == "__main__":
    if _ENVIRONMENT in os.environ:
        serve(Path(os.environ[_ENVIRONMENT]))
    else:
        main()
