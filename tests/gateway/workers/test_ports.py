"""Ports that workers share: known beforehand, nobody else's, and given back whole when something cannot be had."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway.configuration.reading import load
from gateway.configuration.settings import Listen
from gateway.errors import GatewayError
from gateway.workers import ports as module
from gateway.workers.ports import Ports
from tests.harness import free_port


def listening(*entries: str) -> list[Listen]:
    found: list[Listen] = load(None, {"DOZOR_LISTEN": ",".join(entries)}, implicit=False).listen
    return found


def play(act: Callable[[Ports], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        held = Ports()
        try:
            async with asyncio.timeout(20):
                await act(held)
        finally:
            held.close()

    asyncio.run(go())


def bind(port: int, kind: int = socket.SOCK_STREAM, *, shared: bool = False) -> socket.socket:
    """As somebody else would."""
    sock = socket.socket(socket.AF_INET, kind)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def free(port: int, kind: int = socket.SOCK_STREAM) -> bool:
    try:
        bind(port, kind).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("transport", ["", "/udp"])
def test_a_port_is_held_for_workers_and_for_nobody_else(transport: str) -> None:
    port = free_port()
    kind = socket.SOCK_DGRAM if transport else socket.SOCK_STREAM

    async def act(held: Ports) -> None:
        wanted = listening(f"teltonika{transport}=127.0.0.1:{port}")
        change = await held.prepare(wanted)
        assert change.listen == wanted
        assert not free(port, kind)
        with bind(port, kind, shared=True) as worker:
            if kind == socket.SOCK_STREAM:
                with socket.socket() as client:
                    assert client.connect_ex(("127.0.0.1", port)) != 0, "what only holds it takes no connection"
                worker.listen()
                with socket.socket() as client:
                    assert client.connect_ex(("127.0.0.1", port)) == 0
        held.apply(change)
        held.bound()
        assert free(port, kind) is bool(transport), "datagrams are the workers' alone"
        held.close()
        assert free(port, kind)

    play(act)


def test_a_port_that_was_free_is_known_and_stays_the_same() -> None:
    async def act(held: Ports) -> None:
        wanted = listening("teltonika=127.0.0.1:0", "omnicomm=127.0.0.1:0")
        first = await held.prepare(wanted)
        held.apply(first)
        known = [entry.port for entry in first.listen]
        assert len(set(known)) == 2
        assert all(known)
        assert [entry.protocol for entry in first.listen] == ["teltonika", "omnicomm"]
        again = await held.prepare(wanted)
        assert ([entry.port for entry in again.listen], again.added) == (known, [])
        held.apply(again)
        fewer = await held.prepare(wanted[:1])
        assert not free(known[1]), "not before the others have it so"
        held.apply(fewer)
        assert (free(known[0]), free(known[1])) == (False, True)

    play(act)


def test_a_name_of_several_addresses_becomes_an_entry_for_each() -> None:
    async def act(held: Ports) -> None:
        change = await held.prepare(listening("teltonika=localhost:0"))
        held.apply(change)
        hosts = {entry.host for entry in change.listen}
        assert hosts <= {"127.0.0.1", "::1"}
        assert len(hosts) == len(change.listen) >= 1
        assert all(entry.port for entry in change.listen)

    play(act)


def test_one_port_that_is_not_to_be_had_takes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.15)
    kept, wished, busy = free_port(), free_port(), free_port()

    async def act(held: Ports) -> None:
        held.apply(await held.prepare(listening(f"teltonika=127.0.0.1:{kept}")))
        wanted = listening(*(f"teltonika=127.0.0.1:{port}" for port in (kept, wished, busy)))
        for shared in (False, True):  # also one that would share it
            with bind(busy, shared=shared) as other:
                other.listen()
                with pytest.raises(
                    GatewayError, match=f"cannot listen on 127.0.0.1:{busy}.*take another listen.address"
                ):
                    await held.prepare(wanted)
                assert (free(kept), free(wished)) == (False, True), "what was held is held, what was taken is free"
        change = await held.prepare(wanted)
        assert len(change.added) == 2
        held.discard(change)
        assert (free(kept), free(wished), free(busy)) == (False, True, True)

    play(act)


def test_workers_of_a_service_that_was_killed_have_a_moment_to_be_gone() -> None:
    port = free_port()

    async def act(held: Ports) -> None:
        other = bind(port, shared=True)
        other.listen()
        asyncio.get_running_loop().call_later(0.3, other.close)
        change = await held.prepare(listening(f"teltonika=127.0.0.1:{port}"))
        assert len(change.added) == 1
        held.discard(change)

    play(act)


def test_an_address_that_is_not_ours_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)

    async def act(held: Ports) -> None:
        for address in ("192.0.2.1:5027", "no-such-host.invalid:5027"):
            with pytest.raises(GatewayError, match=r"cannot listen on .* \(teltonika\): "):
                await held.prepare(listening(f"teltonika={address}"))

    play(act)
