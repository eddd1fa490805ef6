"""Fuel-level sensors on a serial line: a pseudo-terminal behind which they answer, late, wrongly, twice or not at all.

`Sensors` is the sensors' side without I/O: what came in, and what goes out when. `Line` gives it a pseudo-terminal, and
a thread. What each sensor sent, and what was done to it, is the ground truth.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import math
import os
import random
import select
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocols.lls import declaration as lls
from protocols.modbus_fuel import declaration as modbus
from protocols.modbus_fuel.profile import Profile, Value, reorder

Fault = Literal["", "late", "wrong", "cut", "twice", "silent", "noise"]
FAULTS: tuple[Fault, ...] = ("late", "wrong", "cut", "twice", "silent", "noise")
LATE = (0.3, 0.6)  # s: beyond what a sensor may take, on a device
PROMPT = (0.001, 0.02)
Level = Callable[[int, float, int], int]  # address, now, how many answers before -> raw level
_SETTINGS = lls.Settings("LLS 30160", "LLS 4.2.0.7", 0, 0, 8, 0, lls.TOP, 66120, 81975)


def tank(address: int, now: float, _: int) -> int:
    """A tank that is driven empty in some minutes and filled again; each sensor has its own."""
    period = 600.0 + 7.0 * address
    part = (now / period + address * 0.37) % 1.0
    slosh = 6.0 * math.sin(now * 0.7 + address)
    return round(600 + 3000 * (1.0 - part) + slosh)


@dataclass(frozen=True, slots=True)
class Sent:
    """One answer as it was meant: monotonic seconds, the sensor, its level and °C, and what was done to it."""

    at: float
    address: int
    level: int
    temperature: int
    fault: Fault


class Sensors:
    """The sensors of one line, sans-IO."""

    def __init__(
        self,
        protocol: str,
        addresses: Sequence[int],
        *,
        seed: int = 1,
        errors: float = 0.0,
        faults: Sequence[Fault] = FAULTS,
        level: Level = tank,
        profile: Profile | None = None,
        echo: bool = False,
    ) -> None:
        """`errors` : share of answers that something is done to. `echo`: the adapter gives back what is sent."""
        self.sent: list[Sent] = []
        self.requests = 0
        self._protocol = protocol
        self._addresses = frozenset(addresses)
        self._random = random.Random(seed)  # noqa: S311  # a simulation
        self._errors = errors
        self._faults = tuple(faults)
        self._level = level
        self._profile = profile
        self._echo = echo
        self._buffer = b""
        self._count = dict.fromkeys(addresses, 0)
        self._due: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()

    def receive(self, data: bytes, now: float) -> None:
        """What the gateway sent; answers become due."""
        if self._echo:
            self._put(now, data)
        self._buffer = (self._buffer + data)[-256:]
        while self._buffer:
            size, answer = self._hear(now) if self._protocol == "lls" else self._hear_modbus(now)
            if size == 0:
                return
            self._buffer = self._buffer[size:]
            if answer is not None:
                self._answer(*answer, now)

    def due(self, now: float) -> bytes:
        """What leaves now."""
        out = b""
        while self._due and self._due[0][0] <= now:
            out += heapq.heappop(self._due)[2]
        return out

    def next(self) -> float | None:
        """When something leaves next."""
        return self._due[0][0] if self._due else None

    def _put(self, at: float, data: bytes) -> None:
        heapq.heappush(self._due, (at, next(self._order), data))

    # -- requests -----------------------------------------------------------------------------------------------

    def _hear(self, now: float) -> tuple[int, tuple[Sent, bytes] | None]:
        buffer = self._buffer
        if buffer[:2] == lls.ASK_TEXT and len(self._addresses) == 1:
            (address,) = self._addresses
            sent = self._sample(address, now)
            return 2, (sent, lls.text_line(sent.temperature, sent.level, 900 + sent.level // 2))
        size = lls.whole(buffer)
        if size <= 0:
            return (0 if size == 0 and len(buffer) < 5 else 1), None
        prefix, address, opcode = buffer[:3]
        if prefix != lls.REQUEST or address not in self._addresses:
            return size, None
        self.requests += 1
        sent = self._sample(address, now)
        if opcode == lls.READ:
            data = lls.answer_data(sent.temperature, sent.level, 900 + sent.level // 2)
        elif opcode == lls.SETTINGS:
            data = lls.settings_data(_SETTINGS)
        else:
            data = b"\x01"
        return size, (sent, lls.packet(lls.ANSWER, address, opcode, data))

    def _hear_modbus(self, now: float) -> tuple[int, tuple[Sent, bytes] | None]:
        buffer = self._buffer
        if len(buffer) < modbus.REQUEST_SIZE:
            return 0, None
        if not modbus.good(buffer[: modbus.REQUEST_SIZE]):
            return 1, None
        address, function, start, count = modbus.read_request(buffer)
        if address not in self._addresses:
            return modbus.REQUEST_SIZE, None
        self.requests += 1
        sent = self._sample(address, now)
        registers = self._registers(sent, function, start, count)
        if registers is None:
            return modbus.REQUEST_SIZE, (sent, modbus.refusal(address, function, 2))
        return modbus.REQUEST_SIZE, (sent, modbus.answer(address, function, registers))

    def _sample(self, address: int, now: float) -> Sent:
        count = self._count[address]
        self._count[address] += 1
        temperature = round(12 + 8 * math.sin(now / 300 + address))
        chance = self._random.random()
        fault: Fault = self._random.choice(self._faults) if chance < self._errors else ""
        return Sent(now, address, self._level(address, now, count), temperature, fault)

    def _registers(self, sent: Sent, function: int, start: int, count: int) -> bytes | None:
        values = [value for read in self._profile.reads for _, value in read.values] if self._profile else []
        ends = [value.start + value.registers for value in values if value.function == function]
        if not ends or start + count > max(ends):
            return None
        out = bytearray(2 * count)
        for value in values:
            at = 2 * (value.start - start)
            if value.function == function and 0 <= at <= len(out) - 2 * value.registers:
                out[at : at + 2 * value.registers] = _raw(value, sent)
        return bytes(out)

    # -- answers ------------------------------------------------------------------------------------------------

    def _answer(self, sent: Sent, data: bytes, now: float) -> None:
        chance = self._random
        self.sent.append(sent)
        at = now + chance.uniform(*PROMPT)
        match sent.fault:
            case "silent":
                return
            case "late":
                at = now + chance.uniform(*LATE)
            case "wrong":  # up to three bits: more may make another packet that is right, by any checksum of a byte
                data = _flipped(data, chance.sample(range(8 * len(data)), chance.randint(1, 3)))
            case "cut":
                place = chance.randrange(len(data))
                data = data[:place] + data[place + 1 :] if chance.random() < 0.5 else data[:place]
            case "twice":
                self._put(at + chance.uniform(0.0, 0.03), data)
            case "noise":
                self._put(at, chance.randbytes(chance.randint(1, 12)))
            case _:
                pass
        self._put(at, data)


def _flipped(data: bytes, bits: Sequence[int]) -> bytes:
    out = bytearray(data)
    for bit in bits:
        out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def _raw(value: Value, sent: Sent) -> bytes:
    told = {"level": float(sent.level), "temperature": float(sent.temperature)}.get(value.measure, 0.0)
    return reorder(value.pack(told), value.words)


class Line:
    """Sensors behind a pseudo-terminal: `port` is what a gateway opens.

    Attributes
    ----------
    sensors : they, and what they sent.
    """

    def __init__(self, sensors: Sensors, link: Path | None = None) -> None:
        """`link` : a name for the port, which stays the same when it is pulled out and put back."""
        self.sensors = sensors
        self._link = link
        self._master = -1
        self._slave = -1
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.port = ""
        self.put_in()

    def put_in(self) -> None:
        """The port appears."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        name = os.ttyname(self._slave)
        if self._link is not None:
            fresh = self._link.with_name(f".{self._link.name}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(name)
            fresh.replace(self._link)
        self.port = str(self._link) if self._link is not None else name
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(self._ended,), daemon=True, name="simulated line")
        self._thread.start()

    def pull_out(self) -> None:
        """The port is gone: whoever has it open meets an error."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5.0)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        for descriptor in (self._slave, self._master):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._master = self._slave = -1

    def close(self) -> None:
        """It is over."""
        if self._master >= 0:
            self.pull_out()

    def _serve(self, ended: threading.Event) -> None:
        while not ended.is_set():
            due = self.sensors.next()
            wait = 0.05 if due is None else max(0.0, min(0.05, due - time.monotonic()))
            ready, _, _ = select.select([self._master], [], [], wait)
            try:
                if ready:
                    self.sensors.receive(os.read(self._master, 1024), time.monotonic())
                if out := self.sensors.due(time.monotonic()):
                    os.write(self._master, out)
            except BlockingIOError:  # nobody reads: lost, as on a wire
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # nobody has it open
                    raise
                ended.wait(0.02)
