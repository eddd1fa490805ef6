"""From a broker's message to conversations: what of it is stored as records, what is kept raw, and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from gateway.receive.batch import Raw
from gateway.receive.broker.carried import Carried
from gateway.receive.broker.presence import Presences
from gateway.receive.broker.topics import JSON, Kind, Route
from gateway.receive.broker.window import Delivery
from gateway.receive.broker.wire import PublishIn
from gateway.receive.conversations import Conversations
from protocols import json_records
from protocols.records import Event, Frame, Identified, Login, Malformed, Message, Session, identity_of
from protocols.registry import WireProtocol

_log = structlog.get_logger()


class Payloads:
    """Those of one broker."""

    def __init__(self, shared: Conversations, address: str, presences: Presences) -> None:
        self._shared = shared
        self._address = address
        self._presences = presences
        self._runners: dict[int, Session] = {}

    def configure(self) -> None:
        """Other settings: a frame may have another limit."""
        self._runners.clear()

    def take(self, route: Route, message: PublishIn, delivery: Delivery) -> None:
        """Store what it holds; the delivery hears of it."""
        payload = message.payload
        if route.kind is Kind.STATUS:
            wrong = self._presences.told(route.terminal, payload)
            if wrong:
                self._keep(route, Raw(payload, wrong), delivery)
            else:
                delivery.settle()
        elif route.kind is Kind.NOTHING:
            self._keep(route, Raw(payload, route.reason), delivery)
        elif message.retain:
            self._keep(route, Raw(payload, "retained"), delivery)
        elif route.kind is Kind.FRAMES:
            self._presences.heard(route.terminal)
            self._carry(route.protocol, route.terminal, self._frames(route, payload), delivery)
        else:
            self._take_json(route, payload, delivery)

    def _keep(self, route: Route, raw: Raw, delivery: Delivery) -> None:
        self._carry(route.protocol, route.terminal, (raw,), delivery)

    def _carry(self, protocol: int, terminal: str, things: Sequence[Event | Raw], delivery: Delivery) -> None:
        Carried(self._shared, protocol, terminal, things, delivery, self._address).start()

    def _frames(self, route: Route, payload: bytes) -> Sequence[Event | Raw]:
        """What a protocol's session makes of it; whole good frames, the usual case, at once."""
        runner = self._runners.get(route.protocol)
        if runner is not None and (run := runner.run(payload)) is not None:
            return (run,) if run.terminal in ("", route.terminal) else (Raw(payload, "identity"),)
        shared = self._shared
        try:
            things, session = read_frames(
                shared.protocols[route.protocol],
                lambda transport: shared.new_session(route.protocol, transport, carried=True),
                route.terminal, payload, shared.now() + shared.offset,
            )  # fmt: skip
        except Exception:  # a bug: sessions do not raise. It must not come again and again
            _log.exception("mqtt: a payload cannot be read", terminal=route.terminal, bytes=len(payload))
            return (Raw(payload, "decoder"),)
        if runner is None and session is not None and session.run(payload) is not None:
            self._runners[route.protocol] = session  # behind its login, nothing open: it takes whole frames for ever
        return things

    def _take_json(self, route: Route, payload: bytes, delivery: Delivery) -> None:
        try:
            reading = json_records.read(payload, route.template)
            packed = {named: json_records.pack(records) for named, records in reading.records.items()}
        except Exception:  # as above
            _log.exception("mqtt: JSON cannot be read", terminal=route.terminal, bytes=len(payload))
            self._keep(route, Raw(payload, "decoder"), delivery)
            return
        found: dict[str, list[Event | Raw]] = {}
        for named, records in reading.records.items():
            terminal = route.terminal or identity_of(named)
            if not terminal or (route.terminal and named and identity_of(named) != route.terminal):
                found.setdefault(route.terminal, []).append(Raw(payload, "identity"))
            else:
                found.setdefault(terminal, []).append(Frame(packed[named], len(records)))
        if reading.refused or reading.notes:
            mine = found.setdefault(route.terminal, [])
            mine += [Raw(refusal.data, refusal.reason) for refusal in reading.refused]
            mine += reading.notes
        if reading.firmware is not None and route.terminal:
            found.setdefault(route.terminal, []).append(Identified(reading.firmware))
        if not found:
            delivery.settle()
            return
        delivery.expect(len(found) - 1)
        for terminal, things in found.items():
            self._presences.heard(terminal)
            self._carry(JSON, terminal, things, delivery)


def read_frames(
    protocol: WireProtocol, new_session: Callable[[str], Session], terminal: str, payload: bytes, now: float
) -> tuple[list[Event | Raw], Session | None]:
    """What a payload of raw frames holds, and the session that read it, if all of it was good.

    It may begin behind a login, as most do, with one, or be a whole datagram. Whatever is damaged is kept whole.
    """
    if "tcp" not in protocol.transports:  # of a line, say
        return [Raw(payload, "protocol")], None
    login = protocol.missing_login(payload)
    session = new_session("tcp")
    events = list(session.receive_data(login + payload, now))
    named = next((event for event in events if isinstance(event, Login)), None)
    if named is None and "udp" in protocol.transports:
        datagram = new_session("udp")
        told = list(datagram.receive_data(payload, now))
        named = next((event for event in told if isinstance(event, Login)), None)
        if named is not None:
            session, events = datagram, told
    if named is None and not any(isinstance(event, Frame) for event in events):  # a format that negotiates, or nothing
        damage = next((event for event in events if isinstance(event, Malformed)), Malformed("login"))
        return [damage, Raw(payload, damage.reason)], None
    if not login and named is not None and identity_of(named.terminal) != terminal:
        return [Raw(payload, "identity")], None
    if named is not None:
        events += session.accept(now)
    events += session.end_of_stream()
    if any(isinstance(event, Frame) and event.terminal not in ("", terminal) for event in events):
        return [Raw(payload, "identity")], None
    things: list[Event | Raw] = [event for event in events if isinstance(event, Frame | Message | Identified)]
    damaged = [event for event in events if isinstance(event, Malformed)]
    if not login and named is not None and (named.firmware or named.model):
        things.append(Identified(named.firmware, named.model))
    if not damaged:
        return things, session
    return [*things, *damaged, Raw(payload, damaged[0].reason)], None
