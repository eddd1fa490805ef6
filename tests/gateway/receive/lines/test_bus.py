"""The conversation on a bus, over pseudo-terminals and over a small serial server: late, wrong, twice, not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import serial.rfc2217

from gateway.receive.lines.bus import Bus
from gateway.receive.lines.port import Port, PortBusyError, PortError
from gateway.simulator.lines import FAULTS, Fault, Line, Sensors
from protocols.lines import Status
from protocols.modbus_fuel import shipped
from protocols.registry import line

LLS = line("lls")


def numbered(address: int, now: float, count: int) -> int:
    """Levels that say which answer they are."""
    return (address * 500 + count) % 4096


@contextmanager
def bus(sensors: Sensors, protocol: str = "lls") -> Iterator[tuple[Bus, Line, Counter[str]]]:
    simulated = Line(sensors)
    port = Port(simulated.port, 19_200)
    results: Counter[str] = Counter()
    try:
        yield Bus(port, line(protocol), lambda result: results.update([result])), simulated, results
    finally:
        port.close()
        simulated.close()


def test_each_sensor_of_a_bus_is_read_by_its_address() -> None:
    sensors = Sensors("lls", [1, 7, 254], level=numbered)
    with bus(sensors) as (one, _, results):
        readings = [one.read(LLS.sensor(address)) for address in (1, 7, 254)]
    assert [reading.status for reading in readings] == [Status.GOOD] * 3
    assert [reading.values["level"] for reading in readings] == [500, 3500, 24]
    assert results == {"good": 3}


def test_one_that_is_not_there_is_asked_three_times_and_costs_little() -> None:
    with bus(Sensors("lls", [1])) as (one, _, results):
        begun = time.monotonic()
        assert one.read(LLS.sensor(2)).status is Status.NO_ANSWER
        assert results == {"no_answer": 3}
        assert time.monotonic() - begun < 4.0
        assert one.read(LLS.sensor(2), attempts=1).status is Status.NO_ANSWER
        assert results == {"no_answer": 4}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_every_answer_gives_the_right_reading_or_a_mark(fault: Fault) -> None:
    sensors = Sensors("lls", [1, 2], seed=3, errors=1.0, faults=[fault], level=numbered)
    with bus(sensors) as (one, _, results):
        found = [one.read(LLS.sensor(address), attempts=2) for address in (1, 2)]
    sent = {1: set(), 2: set()}
    for answer in sensors.sent:
        sent[answer.address].add(answer.level)
    for address, reading in zip((1, 2), found, strict=True):
        if fault in ("twice", "noise"):
            assert reading.status is Status.GOOD
        elif fault == "silent":
            assert reading.status is Status.NO_ANSWER
        if reading.status is Status.GOOD:
            assert reading.values["level"] in sent[address]
        else:
            assert "level" not in reading.values
            assert reading.status in (Status.NO_ANSWER, Status.CHECKSUM)
    assert sum(results.values()) >= 2


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    """One sensor, whose every other answer is late: each reading is the answer to its own request."""
    sensors = Sensors("lls", [1], seed=5, errors=0.5, faults=["late"], level=numbered)
    with bus(sensors) as (one, _, _):
        for _ in range(6):
            reading = one.read(LLS.sensor(1))
            if reading.status is Status.GOOD:
                assert reading.values["level"] == sensors.sent[-1].level
                assert sensors.sent[-1].fault == ""


def test_an_adapter_that_gives_back_what_is_sent() -> None:
    with bus(Sensors("lls", [1], level=numbered, echo=True)) as (one, _, results):
        assert one.read(LLS.sensor(1)).values["level"] == 500
    assert results == {"good": 1}


def test_a_lone_sensor_in_letters() -> None:
    sensors = Sensors("lls", [1], level=numbered)
    whole, sensors._hear = sensors._hear, lambda now: _letters(sensors, whole, now)  # type: ignore[method-assign]
    with bus(sensors) as (one, _, results):
        reading = one.read(LLS.sensor(1, True))
    assert (reading.status, reading.values["level"]) == (Status.GOOD, 500)
    assert results == {"no_answer": 2, "good": 1}


def _letters(sensors: Sensors, whole: Callable[[float], object], now: float) -> object:
    """It hears nothing but letters."""
    return whole(now) if sensors._buffer[:1] == b"D" else (1, None)


def test_settings_are_asked_for_once() -> None:
    with bus(Sensors("lls", [1])) as (one, _, results):
        assert one.learn(LLS.sensor(1))
        assert not one.learn(LLS.sensor(2))
    assert results == {"good": 1, "no_answer": 1}


def test_registers_by_a_profile() -> None:
    profile = shipped("daviteq-cap10")
    sensors = Sensors("modbus-fuel", [30], profile=profile, level=lambda *_: 613)
    protocol = line("modbus-fuel")
    with bus(sensors, "modbus-fuel") as (one, _, results):
        reading = one.read(protocol.sensor(30, False, profile))
        refused = one.read(protocol.sensor(30, False, shipped("kral-bem100")))
    assert (reading.status, reading.values["level"]) == (Status.GOOD, 613)
    assert (refused.status, results["refused"]) == (Status.REFUSED, 1)


def test_a_port_that_is_pulled_out_is_an_error_of_its_own() -> None:
    with bus(Sensors("lls", [1])) as (one, simulated, _):
        assert one.read(LLS.sensor(1)).status is Status.GOOD
        simulated.pull_out()
        with pytest.raises(PortError, match=r"/dev/pts/\d+: "):
            one.read(LLS.sensor(1))


def test_one_at_a_time_has_a_port() -> None:
    simulated = Line(Sensors("lls", [1]))
    first = Port(simulated.port, 19_200)
    try:
        with pytest.raises(PortBusyError, match="is used by another process"):
            Port(simulated.port, 19_200)
    finally:
        first.close()
        simulated.close()


@pytest.mark.parametrize("url", ["/dev/nothing-of-that-name", "socket://127.0.0.1:1"])
def test_a_port_that_is_not_there(url: str) -> None:
    with pytest.raises(PortError, match="cannot be opened"):
        Port(url, 19_200)


class Server:
    """A serial server: what comes over TCP goes to the sensors, and back."""

    def __init__(self, sensors: Sensors) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self.socket.getsockname()[1]}"
        self._sensors = sensors
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            peer.settimeout(0.005)
            with peer:
                while True:
                    try:
                        data = peer.recv(256)
                        if not data:
                            break
                        self._sensors.receive(data, time.monotonic())
                    except TimeoutError:
                        pass
                    except OSError:
                        break
                    out = self._sensors.due(time.monotonic())
                    for at in range(0, len(out), 4):  # in pieces, as such boxes send
                        peer.sendall(out[at : at + 4])

    def close(self) -> None:
        self.socket.close()


def test_over_a_serial_server() -> None:
    sensors = Sensors("lls", [1, 2], level=numbered)
    server = Server(sensors)
    port = Port(server.url, 19_200)
    try:
        one = Bus(port, LLS)
        assert [one.read(LLS.sensor(address)).values["level"] for address in (1, 2)] == [500, 1000]
    finally:
        port.close()
        server.close()


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial's
def test_over_rfc_2217() -> None:
    """pyserial's own server, which takes the line's settings; behind it the sensors."""
    sensors = Sensors("lls", [3], level=numbered)
    device = serial.serial_for_url("loop://")  # a pseudo-terminal has no modem lines, which the server looks at
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(0.02)
            manager = serial.rfc2217.PortManager(device, _Connection(peer))
            while not ended.is_set():
                try:
                    data = peer.recv(256)
                    if not data:
                        return
                    sensors.receive(b"".join(manager.filter(data)), time.monotonic())
                except TimeoutError:
                    pass
                if out := sensors.due(time.monotonic()):
                    peer.sendall(b"".join(manager.escape(out)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        port = Port(f"rfc2217://127.0.0.1:{listener.getsockname()[1]}", 9600, "even")
        try:
            assert Bus(port, LLS).read(LLS.sensor(3)).values["level"] == 1500
            assert (device.parity, device.baudrate) == (serial.PARITY_EVEN, 9600)
        finally:
            port.close()
    finally:
        ended.set()
        thread.join(5)
        listener.close()
        device.close()


class _Connection:
    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def write(self, data: bytes) -> None:
        self._peer.sendall(data)
