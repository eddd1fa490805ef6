"""/metrics, /healthz and /readyz, and a page that says what each is: plain HTTP, no login."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway import VERSION
from gateway.receive.reception import Reception

REASONS = ("starting", "workers", "store", "spool_full", "spool_error", "admission", "stopping")
_SERVED = {"admission"}  # whoever is known is served all the same

_SAFE = {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Dozor: metrics and health</title></head>
<body><h1>Dozor {version}</h1>
<p>What the gateway says of itself, for monitoring. People use the desk, which has an address of its own.</p>
<dl>
<dt><a href="/metrics">/metrics</a></dt><dd>figures for Prometheus, in its text format</dd>
<dt><a href="/healthz">/healthz</a></dt><dd>200 while the process answers: for who restarts it</dd>
<dt><a href="/readyz">/readyz</a></dt><dd>200 while frames are accepted and acknowledged, else 503 and why: for load
balancers. Now: <strong>{state}</strong></dd>
</dl></body></html>
"""


class Readiness:
    """Whether frames are accepted and acknowledged, and if not, why."""

    def __init__(self) -> None:
        self.starting = True
        self.stopping = False
        self.reception: Reception | None = None

    @property
    def store_up(self) -> bool:
        """Whether the store answered when it was last asked."""
        return self.reception is None or self.reception.store_up

    @property
    def accepting(self) -> bool:
        """Whether terminals that the registry knows are heard: else their silence says nothing of them."""
        return not set(self.reasons()) - _SERVED

    def reasons(self) -> list[str]:
        """What stands in the way; empty when ready. A store that is away is none while the spool takes its place."""
        held = {word for word, holds in (("starting", self.starting), ("stopping", self.stopping)) if holds}
        if self.reception is not None and not self.starting:
            held |= self.reception.reasons()
        return [reason for reason in REASONS if reason in held]


def health_app(registry: CollectorRegistry, readiness: Readiness) -> Starlette:
    """The routes."""

    async def index(request: Request) -> Response:
        state = ", ".join(readiness.reasons()) or "ready"
        return HTMLResponse(_PAGE.format(version=VERSION, state=state), headers=_SAFE)

    async def metrics(request: Request) -> Response:
        if readiness.reception is not None:
            await readiness.reception.refresh()
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        reasons = readiness.reasons()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    routes = {"/": index, "/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(routes=[Route(path, answer) for path, answer in routes.items()])


def host_metrics(readiness: Readiness, data_dir: Path) -> Iterator[Metric]:
    """Readiness by reason, free disk space, and what waits in the spool."""
    held = set(readiness.reasons())
    not_ready = GaugeMetricFamily("dozor_not_ready", "1 while the reason holds", labels=["reason"])
    for reason in REASONS:
        not_ready.add_metric([reason], float(reason in held))
    yield not_ready
    free = GaugeMetricFamily("dozor_disk_free_bytes", "Free space where the directory lies", labels=["directory"])
    with suppress(OSError):  # a disk that is gone: what waits in the spool is told all the same
        free.add_metric(["data_dir"], float(shutil.disk_usage(data_dir).free))
    yield free
    reception = readiness.reception
    waits = (reception.spool_bytes, reception.spool_frames) if reception is not None else (0, 0)
    yield GaugeMetricFamily("dozor_spool_bytes", "Bytes in the spool", float(waits[0]))
    yield GaugeMetricFamily("dozor_spool_frames", "Frames in the spool", float(waits[1]))
