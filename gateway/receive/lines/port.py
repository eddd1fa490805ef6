"""A serial port by pyserial: a device, or any of its URLs (`socket://host:port`, `rfc2217://host:port`). Blocking.

Threads rather than the event loop: a loop can wait for descriptors alone, and neither an RFC 2217 port nor a Windows
device has one. A port is one line of a few bytes a second, and there are few: a thread each costs nothing that counts.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import Any

import serial

from gateway.errors import GatewayError

try:  # where devices are terminals, pyserial lets its errors through
    from termios import error as _termios_error
except ImportError:  # pragma: no cover
    _termios_error = OSError  # type: ignore[assignment,misc]

PARITIES = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
SLICE = 0.02  # s of one wait: how late an answer's end, or the end of the service, is noticed at most
_WRITE = 2.0  # s for a request to leave
_AT_ONCE = 4096
# pyserial's own are OSErrors; a port that vanishes, or a URL's handler that cannot do something, gives others.
_ERRORS = (OSError, _termios_error, ValueError, TypeError, NotImplementedError)
_SLOW = ("socket", "rfc2217")  # another host's, over a network
NETWORK = 0.8  # s longer an answer may take over a network: retransmissions, a serial server that gathers bytes


class PortError(GatewayError):
    """The port cannot be opened, or is gone."""


class PortBusyError(PortError):
    """Another process has the port."""


class Port:
    """An open port. Everything raises `PortError` once it is gone."""

    def __init__(self, url: str, baudrate: int, parity: str = "none") -> None:
        """Open it, for us alone where it is a device.

        Raises
        ------
        PortError
            If it cannot be opened.
        """
        self.url = url
        self.baudrate = baudrate
        self._bits = 8 + 2 + (parity != "none")
        patience = None if url.startswith("rfc2217:") else _WRITE  # there is none in pyserial's RFC 2217
        try:
            self._port: Any = serial.serial_for_url(
                url, baudrate=baudrate, parity=PARITIES[parity], timeout=SLICE, write_timeout=patience, exclusive=True
            )
        except _ERRORS as error:
            raise _unopened(url, error) from error

    @property
    def extra(self) -> float:
        """Seconds an answer may take beyond the sensor's own time."""
        scheme, found, _ = self.url.partition("://")
        return NETWORK if found and scheme in _SLOW else 0.1  # an adapter's latency timer, a busy machine

    def transfer(self, size: int) -> float:
        """Seconds that `size` bytes take on the line."""
        return size * self._bits / self.baudrate

    def write(self, data: bytes) -> None:
        """Send."""
        try:
            self._port.write(data)
            self._port.flush()
        except _ERRORS as error:
            raise PortError(f"{self.url}: {_words(error)}") from error

    def read(self, within: float) -> bytes:
        """What has come, or comes first, within so many seconds; empty: nothing did."""
        deadline = time.monotonic() + within
        try:
            while True:
                waiting = min(self._port.in_waiting, _AT_ONCE)
                data: bytes = self._port.read(max(1, waiting))
                if data or time.monotonic() >= deadline:
                    return data
        except _ERRORS as error:
            raise PortError(f"{self.url}: {_words(error)}") from error

    def close(self) -> None:
        """Give it back."""
        inner = getattr(self._port, "_socket", None)
        with contextlib.suppress(*_ERRORS):
            self._port.close()
        if inner is not None:  # pyserial forgets a socket whose peer is gone
            inner.close()


def _unopened(url: str, error: Exception) -> PortError:
    busy = getattr(error, "errno", None) in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error)
    if busy:
        return PortBusyError(
            f"{url} is used by another process, a service that polls it or `dozor sensor`: one at a time may ask on it"
        )
    return PortError(f"{url} cannot be opened: {_words(error)}")


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
