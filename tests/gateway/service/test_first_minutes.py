"""What somebody sees who starts the service for the first time, and who stops it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from gateway.service.health import Readiness, health_app
from protocols.teltonika.declaration import login
from tests.gateway.wire import wait_for
from tests.harness import ServiceProcess, running_service


def lines(service: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


def told(service: ServiceProcess, start: str) -> list[dict[str, Any]]:
    return [entry for entry in lines(service) if entry["event"].startswith(start)]


def test_it_says_where_the_desk_is_how_to_get_in_and_at_the_end_what_was_done() -> None:
    with running_service(fresh=True) as service:
        wait_for(lambda: told(service, "nobody can log in"), 5)
        (desk,) = told(service, "the desk is open")
        assert desk["url"] == f"http://127.0.0.1:{service.ports['desk']}"
        (ready,) = told(service, "ready")
        assert ready["metrics"] == f"http://127.0.0.1:{service.ports['metrics']}/"
        (nobody,) = told(service, "nobody can log in")
        assert nobody["level"] == "warning"
        words = nobody["remedy"].split()
        assert words[0] == "dozor"
        # The remedy works as it stands, but for the name.
        words = [word.replace("NAME", "anna") for word in words[1:]]
        added = service.command(*words, "--password-stdin", text="correct horse battery\n")
        assert added.returncode == 0, added.stderr
        with socket.create_connection(("127.0.0.1", service.ports["teltonika"])) as terminal:
            terminal.sendall(login("356307042441013"))
            assert terminal.recv(1) == b"\x01"
            assert service.stop() == 0
        (stopped,) = told(service, "stopped")
        assert (stopped["connections_closed"], stopped["spooled_frames"]) == (1, 0)
        assert stopped["embedded_store"] == "stopped"
        assert 0 <= stopped["seconds"] < 15
        assert lines(service)[-1] == stopped
        service.start()
        wait_for(lambda: len(told(service, "the desk is open")) == 2, 5)
        assert service.stop() == 0  # whatever it had to say, it has said
        assert len(told(service, "nobody can log in")) == 1  # there is somebody now


def test_the_metrics_port_has_a_page_that_leads_to_all_it_offers() -> None:
    async def ask() -> list[httpx.Response]:
        app = health_app(CollectorRegistry(), readiness := Readiness())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://metrics") as client:
            pages = [await client.get("/")]
            readiness.starting = False
            pages.append(await client.get("/"))
            return pages + [await client.get(link) for link in re.findall(r'href="([^"]+)"', pages[0].text)]

    starting, ready, *linked = asyncio.run(ask())
    assert starting.headers["content-type"].startswith("text/html")
    assert starting.headers["content-security-policy"] == "default-src 'none'"
    assert "<strong>starting</strong>" in starting.text
    assert "<strong>ready</strong>" in ready.text
    assert [(page.url.path, page.status_code) for page in linked] == [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/readyz", 200),
    ]
