"""The web server beside everything else: it comes back, and one metric that fails hides no other."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.configuration.values import Address
from gateway.metrics import Callback
from gateway.parts import Supervisor
from gateway.service import web


def test_a_server_that_fails_is_started_again_on_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    serve, failures = web._Server.serve, [RuntimeError("once"), None]

    async def serving(self: Any, sockets: Any) -> None:
        failure = failures.pop(0) if failures else None
        if failure is not None:
            for sock in sockets:
                sock.close()
            raise failure
        await serve(self, sockets)

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    def ask(port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())

    async def scenario() -> None:
        supervisor = Supervisor((0.01, 0.1))
        server = web.WebServer("desk", Address("127.0.0.1", 0), supervisor)
        server.start(Starlette(routes=[Route("/", hello)]))
        for _ in range(50):
            try:
                answer = await asyncio.to_thread(ask, server.address.port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        assert answer == "hello"
        assert supervisor.failures["desk"] == 1
        await server.stop()
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(ask, server.address.port)

    monkeypatch.setattr(web._Server, "serve", serving)
    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_a_metric_that_cannot_be_computed_is_told_once_and_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    def good() -> Iterator[Metric]:
        yield GaugeMetricFamily("good", "", 1.0)

    def bad() -> Iterator[Metric]:
        yield GaugeMetricFamily("half", "", 1.0)
        raise OSError("the directory is gone")

    registry = CollectorRegistry(auto_describe=False)
    for compute in (bad, good):
        registry.register(Callback(compute))
    for _ in range(3):
        assert "good 1.0" in generate_latest(registry).decode()
    assert capsys.readouterr().out.count("[error ") == 1
