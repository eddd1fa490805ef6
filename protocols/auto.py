"""Which protocol the first bytes of a connection are: told where only one can begin so, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.registry import PROTOCOLS, protocol

AUTO = "auto"  # in place of a protocol's name
PORT = 5000  # of a listener that names none


@dataclass(frozen=True, slots=True)
class Begun:
    """`fits`: who certainly begins so; `may`: who would with more bytes, or cannot be told apart from others."""

    fits: tuple[str, ...]
    may: tuple[str, ...]

    @property
    def name(self) -> str | None:
        """The one protocol these bytes are; None: nobody knows, or not yet."""
        return self.fits[0] if len(self.fits) == 1 and not self.may else None

    @property
    def hopeless(self) -> bool:
        """No more bytes would help."""
        return not self.fits and not self.may


def begun(data: bytes, transport: str = "tcp", among: Sequence[str] = ()) -> Begun:
    """Look at the first bytes of a connection, or at a datagram; `among`: those asked about, all without any."""
    fits, may = [], []
    for name in among or PROTOCOLS:
        wire = protocol(name)
        if transport not in wire.transports or wire.begins is None:
            continue
        verdict = wire.begins(data, transport)
        if verdict:
            fits.append(name)
        elif verdict is None:
            may.append(name)
    return Begun(tuple(fits), tuple(may))


def told_apart() -> list[str]:
    """The protocols that `begun` knows."""
    return [name for name in PROTOCOLS if protocol(name).begins is not None]
