"""Terminals that keep what was not acknowledged, send it again, and check every word they are told."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

from protocols.omnicomm.declaration import ServerFrames
from tests.simulation import frames as wire
from tests.simulation.frames import BEGIN, Sent, Told
from tests.simulation.schedule import Fault, TerminalPlan

if TYPE_CHECKING:
    from tests.simulation.network import Link
    from tests.simulation.world import World

_GETVER_HEAD = b"\0\0\0\0"


class Terminal:
    """One terminal; `flight` is what was sent and not answered, oldest first."""

    def __init__(self, world: World, plan: TerminalPlan, chance: random.Random) -> None:
        self.world, self.plan, self.chance = world, plan, chance
        self.protocol = plan.protocol
        self.identity = {
            "teltonika": f"86{plan.number:013d}",
            "omnicomm": str(700_000 + plan.number),
            "wialon-ips": f"unit-{plan.number}",
        }[plan.protocol]
        self.link: Link | None = None
        self.ready = False
        self.deaf = False
        self.stalled = False
        self.made = 0
        self._serial = 0
        self._time = BEGIN - 100_000 + plan.number
        self._number = 1
        self._damage = False
        self._queue: deque[Sent] = deque()
        self.flight: deque[Sent] = deque()
        self._buffer = bytearray()
        self._server = ServerFrames()
        self._session = 0  # counts connections, so that timers of an old one do nothing
        self.progress = 0.0  # when it last came forward, or was disturbed, or had nothing to do
        self.acked: list[Sent] = []
        self.asked_at: float | None = None  # since when the oldest request waits

    # -- what there is to send ----------------------------------------------------------------------------------

    def live(self) -> None:
        """Begin, or go on after the gateway's crash: timers died with its loop."""
        self.world.later(max(0.0, self.plan.start - self.world.elapsed), self._connect)
        if self.made < self.plan.frames:
            self.world.later(max(0.001, self.plan.start - self.world.elapsed), self._make)

    def _make(self) -> None:
        plan, chance = self.plan, self.chance
        burst = plan.frames if plan.interval == 0.0 else 1
        for _ in range(burst):
            if self.made >= plan.frames:
                return
            self.made += 1
            if not self._queue and not self.flight:
                self.progress = self.world.now
            if chance.random() < plan.pings:
                self._queue.append(self._ping())
            if self.protocol == "wialon-ips" and chance.random() < plan.messages:
                self._queue.append(wire.wialon_message(b"words %d" % self.made))
            self._queue.append(self._data())
        self._pump()
        self.world.later(plan.interval, self._make)

    def _data(self) -> Sent:
        plan, chance = self.plan, self.chance
        records = []
        for _ in range(chance.randint(1, plan.members)):
            self._serial += 1
            self._time += chance.choice((0, 1, 30))  # two records of one second are two records
            lat, lon = chance.randint(0, 8_999_999), chance.randint(0, 17_999_999)
            records.append(Told(self._time, lat, lon, self._serial, chance.random() < plan.poison, self._dear()))
        odd = chance.random() < plan.odd
        if self.protocol == "teltonika":
            return wire.teltonika(records, odd=odd)
        if self.protocol == "omnicomm":
            self._number += 1
            return wire.omnicomm(self._number, records, odd=odd * chance.choice((1, 40)))
        return wire.wialon(records, odd=odd)

    def _dear(self) -> float:
        """How long the store takes for this record: for most no time, for one of them no end."""
        if self.plan.endless == self._serial:
            return 60.0
        return 3.0 if self.plan.dear and self.chance.random() < self.plan.dear else 0.0

    def _ping(self) -> Sent:
        if self.protocol == "teltonika":
            return Sent("ping", len(self.identity).to_bytes(2, "big") + self.identity.encode())  # the login once more
        if self.protocol == "omnicomm":
            return Sent("ping", wire.omnicomm_frame(0x93)[1])
        return Sent("ping", b"#P#\r\n")

    @property
    def waits(self) -> bool:
        """Whether something is not acknowledged yet."""
        return any(sent.kind in ("data", "message") for queue in (self._queue, self.flight) for sent in queue)

    @property
    def read(self) -> bool:
        """Whether its frames are decoded; those of a terminal in quarantine are kept raw."""
        return self.plan.registered or self.world.schedule.policy != "quarantine"

    @property
    def finished(self) -> bool:
        return self.made >= self.plan.frames and not self.waits

    # -- the connection -----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self.link is not None:
            return
        self._session += 1
        self._buffer.clear()
        self._server = ServerFrames()
        self.ready = self.deaf = self.stalled = False
        self.link = self.world.connect(self)
        if self.link is None:
            self.world.later(self.chance.uniform(0.5, 1.5), self._connect)
            return
        if self.protocol == "teltonika":
            login = len(self.identity).to_bytes(2, "big") + self.identity.encode()
        elif self.protocol == "omnicomm":
            login = wire.omnicomm_frame(0x80, int(self.identity).to_bytes(4, "little") + bytes(4))[1]
        else:
            login = wire.wialon_line(b"L", b"2.0;%s;NA;" % self.identity.encode()) + b"\r\n"
        self.link.send(login)
        self.asked_at = self.world.now
        self._watch_patience()

    def _watch_patience(self) -> None:
        """No answer for a long time: connect anew."""
        session, oldest = self._session, self.flight[0] if self.flight else None

        def look() -> None:
            if session != self._session or self.link is None:
                return
            if self.stalled or not self.ready or (oldest is not None and self.flight and self.flight[0] is oldest):
                self.world.note("impatient", self.identity)
                self._leave(self.chance.choice(("close", "reset", "vanish")))
            else:
                self._watch_patience()

        self.world.later(self.plan.patience, look)

    def _leave(self, how: str) -> None:
        link, self.link = self.link, None
        if link is not None:
            {"close": link.end, "reset": link.reset, "vanish": link.vanish}[how]()
        self._offline()

    def closed(self, link: Link) -> None:
        """The gateway closed, or the connection broke."""
        if link is self.link:
            self.link = None
            self._offline()

    def _offline(self) -> None:
        """What was not acknowledged is sent again, from the oldest."""
        self._session += 1
        self.ready = False
        self.asked_at = None
        for sent in reversed(self.flight):
            if sent.kind in ("data", "message"):
                sent.damaged = False
                if self.protocol == "omnicomm":
                    wire.as_archive(sent)
                self._queue.appendleft(sent)
        self.flight.clear()
        if not self.world.crashing:
            self.world.later(self.chance.uniform(0.01, 1.0), self._connect)

    def suffer(self, fault: Fault) -> None:
        """A scripted fault."""
        link = self.link
        if link is None:
            return
        self.progress = self.world.now + fault.length
        self.world.note("fault", self.identity, fault.kind)
        if fault.kind in ("reset", "close", "vanish"):
            self._leave(fault.kind)
        elif fault.kind == "damage":
            self._damage = True
        elif fault.kind == "garbage":
            link.send(self.chance.randbytes(self.chance.randint(1, 60)))
            self._leave(self.chance.choice(("close", "reset")))
        elif fault.kind == "deaf":
            self.deaf = True
            self.world.later(fault.length, lambda: self._hear_again(link))
        elif fault.kind == "stall" and self.ready and self._queue:
            sent = self._queue[0]
            link.send(sent.wire[: self.chance.randint(1, len(sent.wire) - 1)])
            self.stalled = True  # and then nothing more

    def _hear_again(self, link: Link) -> None:
        if link is self.link:
            self.deaf = False
            link.read_again()

    def _pump(self) -> None:
        while self.link is not None and self.ready and not self.stalled and self._queue:
            if len(self.flight) >= self.plan.window:
                return
            sent = self._queue.popleft()
            data = sent.wire
            if self._damage and sent.kind == "data":
                self._damage = False
                sent.damaged = True
                data = wire.damage(self.protocol, sent, self.chance.random())
            else:
                for record in sent.records:
                    self.world.sent[self.identity, record.time, record.serial] = record
            if self.asked_at is None and sent.kind != "told" and not sent.damaged:
                self.asked_at = self.world.now
            self.link.send(data)
            if sent.kind != "told":
                self.flight.append(sent)

    # -- what it is told ----------------------------------------------------------------------------------------

    def received(self, link: Link, data: bytes) -> None:
        """Bytes from the gateway."""
        if link is not self.link:
            return
        if self.protocol == "omnicomm":
            for command, number in self._server.feed(data):
                self._omnicomm(command, number)
        else:
            self._buffer += data
            parse = self._teltonika if self.protocol == "teltonika" else self._wialon
            while self.link is link and parse():
                pass
        self._pump()

    def _wrong(self, what: str) -> None:
        self.world.fail(f"{self.identity} ({self.protocol}): {what}")

    def _logged_in(self) -> None:
        if not self.plan.registered and self.world.schedule.policy == "known":
            self._wrong("let in, and not registered")
        self.ready = True
        self.asked_at = None

    def _ping_answered(self, what: str) -> None:
        """Its turn has come; behind a damaged frame nothing but this is answered."""
        damaged = False
        for place, sent in enumerate(self.flight):
            damaged = damaged or sent.damaged
            if sent.kind == "ping":
                del self.flight[place]
                self._done(sent)
                return
            if not damaged:
                break
        self._wrong(f"told {what}, in flight {[(sent.kind, sent.number) for sent in self.flight]}")

    def _teltonika(self) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        if not self.ready or buffer[0] == 1:
            word = buffer.pop(0)
            if word == 1 and not self.ready:
                self._logged_in()
            elif self.ready:
                self._ping_answered("a second 01")
            elif word:
                self._wrong(f"answer {word} to a login")
            return True
        if len(buffer) < 4:
            return False
        if buffer[:4] == _GETVER_HEAD:
            if len(buffer) < 8 or len(buffer) < 12 + int.from_bytes(buffer[4:8], "big"):
                return False
            if b"getver" not in buffer:
                self._wrong(f"unreadable command {bytes(buffer)!r}")
            del buffer[: 12 + int.from_bytes(buffer[4:8], "big")]
            assert self.link is not None
            self.link.send(wire.teltonika_response(b"Ver:03.27.07 Hw:FMB120 %d" % self._session).wire)
            return True
        count = int.from_bytes(buffer[:4], "big")
        del buffer[:4]
        if not self.flight:
            self._wrong(f"told to erase {count} records, sent none")
        elif count != len(self.flight[0].records):
            self._wrong(f"told to erase {count} records, the oldest frame has {len(self.flight[0].records)}")
        else:
            self._done(self.flight.popleft())
        return True

    def _omnicomm(self, command: int, number: int) -> None:
        if command == 0x85 and not self.ready:
            self._logged_in()
        elif command == 0x94:
            if abs(number + 1_230_768_000 - self.world.wall) > 60:
                self._wrong(f"told that it is {number}")
            self._ping_answered("the time")
        elif command == 0x87 and self.flight and self.flight[0].kind == "data" and self.flight[0].number == number:
            self._done(self.flight.popleft())
        else:
            head = [(sent.kind, sent.number) for sent in self.flight]
            self._wrong(f"command {command:02x} {number}, in flight {head}")

    def _wialon(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if not self.ready:
            if line == b"#AL#1":
                self._logged_in()
            elif line != b"#AL#0":
                self._wrong(f"{line!r} to a login")
            return True
        if line == b"#AL#0":  # garbage
            return True
        if not self.flight:
            self._wrong(f"{line!r}, nothing in flight")
            return True
        sent = self.flight.popleft()
        kind, n = sent.wire[1:2], len(sent.records)
        if sent.kind == "ping":
            good, wanted = line == b"#AP#", "#AP#"
        elif sent.kind == "message":
            good, wanted = line == b"#AM#1", "#AM#1"
        elif sent.damaged:
            good, wanted = line in (b"#AD#16", b"#AB#"), "a negative answer"
            if good:  # asked to send it again
                sent.damaged = False
                self._queue.append(sent)
                return True
        elif kind == b"B":
            refused = sent.poison and line == b"#AB#0"  # by the store, and kept whole
            good, wanted = line == b"#AB#%d" % n or refused, f"#AB#{n}"
        elif (sent.odd and self.read) or (sent.poison and line != b"#AD#1"):
            good, wanted = line.startswith(b"#AD#") and line != b"#AD#1", "a negative code"
        else:
            good, wanted = line == b"#AD#1", "#AD#1"
        if good:
            self._done(sent)
        else:
            self._wrong(f"{line!r} where {wanted} was due")
        return True

    def _done(self, sent: Sent) -> None:
        """It may be forgotten: is it kept for certain?"""
        self.progress = self.world.now
        self.asked_at = self.world.now if any(not sent.damaged for sent in self.flight) else None
        self.world.note("acked", self.identity, sent.number or (sent.records[0].serial if sent.records else sent.kind))
        if sent.kind == "ping":
            return
        if sent.damaged:
            self._wrong("a damaged frame was acknowledged")
        self.acked.append(sent)
        problem = self.world.missing(self, sent)
        if problem and not self.world.on_disk(sent):
            self._wrong(f"acknowledged and lost: {problem}")
