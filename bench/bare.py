"""The bare server: the ceiling that ingest figures are ratios to.

A uvloop server in Python that walks frames by their length field and writes one ack per frame, joined per read. No
checksum, nothing stored. Run as ``python -m bench.bare``; prints its port.
"""

from __future__ import annotations

import asyncio

import uvloop


class Bare(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""
        self._login = True

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        acks = []
        at = 0
        if self._login:
            self._login = False
            at = 2 + int.from_bytes(buffer[:2], "big")
            acks.append(b"\x01")
        while len(buffer) - at >= 12:
            end = at + int.from_bytes(buffer[at + 4 : at + 8], "big") + 12
            if end > len(buffer):
                break
            acks.append(b"\0\0\0" + buffer[at + 9 : at + 10])
            at = end
        self._buffer = buffer[at:]
        self._transport.write(b"".join(acks))


async def _main() -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main())
