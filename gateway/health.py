"""/metrics, /healthz and /readyz: plain HTTP, no login."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.receiving import Reception

REASONS = ("starting", "workers", "store", "spool_full", "spool_error", "stopping")


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

    def reasons(self) -> list[str]:
        """What stands in the way; empty when ready. A store that is away is none while the spool takes its place."""
        held = {word for word, holds in (("starting", self.starting), ("stopping", self.stopping)) if holds}
        if self.reception is not None and not self.starting:
            held |= self.reception.reasons()
        return [reason for reason in REASONS if reason in held]


def health_app(registry: CollectorRegistry, readiness: Readiness) -> Starlette:
    """The three routes."""

    async def metrics(request: Request) -> Response:
        if readiness.reception is not None:
            await readiness.reception.refresh()
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        reasons = readiness.reasons()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])


def host_metrics(readiness: Readiness, data_dir: Path) -> Iterator[Metric]:
    """Readiness by reason, free disk space, and what waits in the spool."""
    held = set(readiness.reasons())
    not_ready = GaugeMetricFamily("dozor_not_ready", "1 while the reason holds", labels=["reason"])
    for reason in REASONS:
        not_ready.add_metric([reason], float(reason in held))
    yield not_ready
    free = GaugeMetricFamily("dozor_disk_free_bytes", "Free space where the directory lies", labels=["directory"])
    free.add_metric(["data_dir"], float(shutil.disk_usage(data_dir).free))
    yield free
    reception = readiness.reception
    waits = (reception.spool_bytes, reception.spool_frames) if reception is not None else (0, 0)
    yield GaugeMetricFamily("dozor_spool_bytes", "Bytes in the spool", float(waits[0]))
    yield GaugeMetricFamily("dozor_spool_frames", "Frames in the spool", float(waits[1]))
