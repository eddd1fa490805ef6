"""An MQTT 5 connection that publishes at QoS 1 and tells what the broker said of each record.

aiomqtt's own `publish` waits for one acknowledgement at a time and keeps its reason to itself; here many are on their
way at once, no more than broker (Receive Maximum) and memory allow, and each tells its reason code. What aiomqtt takes
care of stays its: connecting, the socket on the loop, keep-alive, the end.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS

from gateway.egress.payloads import Payload
from gateway.mqtt import Broker

WINDOW = 500  # records on their way
WINDOW_BYTES = 4 << 20  # and no more bytes than this, but one record always
STALL = 30.0  # s without any acknowledgement while some are awaited
CONNECT = 10.0  # s
KEEPALIVE = 30  # s

_TOPIC = str.maketrans({"%": "%25", "/": "%2F", "+": "%2B", "#": "%23"})  # else other levels, or no topic at all
_HEAD = 16  # bytes of a packet beside topic and payload, at most

# Reason codes of a PUBACK (MQTT 5, 3.4.2.1).
NOBODY = 0x10  # taken, and nobody subscribes to it
TOO_LARGE = 0x95
QUOTA = 0x97
FAILED = 0x80  # from here on
# That are about one record: its topic name, its size, its format.
OF_ITSELF = frozenset({0x90, TOO_LARGE, 0x99})


class _LastWords(logging.Handler):
    """Keeps what paho said last: it alone knows why a connection is lost. It comes with our own message, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.words = record.getMessage()


class ConsumerError(Exception):
    """The consumer is away, or as good as that."""


class Publisher(aiomqtt.Client):
    """One connection to a broker, as a context manager."""

    def __init__(self, broker: Broker, client: str, tls: ssl.SSLContext | None, password: str) -> None:
        """`client` is our name; `password` in place of the broker's own, where it has none."""
        self._last = _LastWords()
        logger = logging.Logger("egress", logging.WARNING)
        logger.addHandler(self._last)
        super().__init__(
            broker.host,
            broker.port,
            username=broker.user or None,
            password=broker.password or password or None,
            logger=logger,
            identifier=client,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,  # what we know of it is in the store
            tls_context=tls,
            timeout=CONNECT,
            keepalive=KEEPALIVE,
            max_inflight_messages=0,  # counted here
            max_queued_incoming_messages=1,  # nothing is subscribed to
        )
        self._disconnected.add_done_callback(lambda lost: lost.cancelled() or lost.exception())  # it is looked at
        self._waiting: dict[int, tuple[int, Callable[[int], None]]] = {}  # by packet: bytes, whom to tell
        self._bytes = 0
        self._progress = asyncio.Event()
        self._window = WINDOW
        self._largest = 0  # bytes of a packet; 0: no limit
        self.taken = False  # whether anything was, on this connection

    async def pass_on(self, payload: Payload, told: Callable[[int], None]) -> None:
        """Publish a record under its terminal's topic; see `send`."""
        await self.send(f"records/{payload.terminal.translate(_TOPIC)}", payload.encoded(), told)

    async def send(self, topic: str, payload: bytes, told: Callable[[int], None]) -> None:
        """Publish when there is room; `told` is called with the broker's reason code.

        Raises
        ------
        ConsumerError
            If the connection is lost, or nothing is acknowledged any more.
        """
        if self._too_large(len(payload) + len(topic.encode()) + _HEAD):
            told(TOO_LARGE)
            return
        while len(self._waiting) >= self._window or (self._waiting and self._bytes + len(payload) > WINDOW_BYTES):
            await self._some_progress()
        self.check()
        info = self._client.publish(topic, payload, 1)
        if info.rc != MQTT_ERR_SUCCESS:
            raise ConsumerError(f"not published ({info.rc})")
        self._waiting[info.mid] = len(payload), told
        self._bytes += len(payload)

    async def acknowledged(self) -> None:
        """Until everything is; raises as `send`."""
        while self._waiting:
            await self._some_progress()

    def _too_large(self, size: int) -> bool:
        return 0 < self._largest < size

    def lost(self) -> bool:
        """Whether the connection is."""
        return self._disconnected.done()

    def check(self) -> None:
        """Raise if the connection is lost."""
        if self.lost():
            raise ConsumerError(self._lost_words())

    def _lost_words(self) -> str:
        return f"the connection is lost ({self._last.words})" if self._last.words else "the connection is lost"

    def on_its_way(self) -> int:
        """How many records were sent and not acknowledged."""
        return len(self._waiting)

    async def _some_progress(self) -> None:
        self._progress.clear()
        acknowledged = asyncio.ensure_future(self._progress.wait())
        ends: set[asyncio.Future[Any]] = {acknowledged, self._disconnected}
        try:
            await asyncio.wait(ends, timeout=STALL, return_when=asyncio.FIRST_COMPLETED)
            if not acknowledged.done():
                self.check()
                raise ConsumerError(f"nothing acknowledged for {STALL:.0f} s")
        finally:
            acknowledged.cancel()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if properties is not None:
            self._window = max(1, min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW)))
            self._largest = getattr(properties, "MaximumPacketSize", 0)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        if not self._connected.done():  # say over TLS, where our certificate is refused behind the handshake
            self._connected.set_exception(aiomqtt.MqttError(self._lost_words()))
        if not self._last.words and reason_code.is_failure:
            self._last.words = str(reason_code)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        found = self._waiting.pop(mid, None)
        if found is not None:
            size, told = found
            self._bytes -= size
            self._progress.set()
            self.taken = self.taken or (reason_code.value < FAILED and reason_code.value != NOBODY)
            told(reason_code.value)
