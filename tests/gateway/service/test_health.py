"""What monitoring is told: ready or why not, and figures that are there whatever receives."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from gateway.receive.reception import Receiving
from gateway.service.health import REASONS, Readiness, health_app, host_metrics


class Reception:
    """As much of receiving as is asked: why frames are not accepted, what waits, and whether it was refreshed."""

    def __init__(self, *reasons: str, store_up: bool = True) -> None:
        self.held = set(reasons)
        self.store_up = store_up
        self.spool_bytes, self.spool_frames = 4096, 7
        self.refreshed = 0

    def reasons(self) -> set[str]:
        return self.held

    async def refresh(self) -> None:
        self.refreshed += 1


def readiness(*reasons: str, starting: bool = False, stopping: bool = False, **more: Any) -> Readiness:
    found = Readiness()
    found.starting, found.stopping = starting, stopping
    found.reception = Reception(*reasons, **more)  # type: ignore[assignment]
    return found


def ask(found: Readiness, path: str, method: str = "GET") -> httpx.Response:
    registry = CollectorRegistry()
    Gauge("some_figure", "help", registry=registry).set(3)

    async def go() -> httpx.Response:
        way = httpx.ASGITransport(health_app(registry, found))
        async with httpx.AsyncClient(transport=way, base_url="http://metrics.test") as client:
            return await client.request(method, path)

    return asyncio.run(go())


def test_a_service_that_starts_says_only_that() -> None:
    found = Readiness()
    assert (found.reasons(), found.accepting, found.store_up) == (["starting"], False, True)
    found = readiness("store", starting=True, store_up=False)
    assert found.reasons() == ["starting"], "what receives is not asked yet"
    assert not found.store_up


@pytest.mark.parametrize("held", [c for n in range(4) for c in itertools.combinations(REASONS, n)], ids=" ".join)
def test_ready_means_that_nothing_stands_in_the_way(held: tuple[str, ...]) -> None:
    inner = set(held) - {"starting", "stopping"}
    found = readiness(*inner, starting="starting" in held, stopping="stopping" in held)
    expected = [reason for reason in REASONS if reason in held and ("starting" not in held or reason not in inner)]
    assert found.reasons() == expected
    assert found.accepting is not (set(expected) - {"admission"} != set())
    answer = ask(found, "/readyz")
    assert answer.status_code == (503 if expected else 200)
    assert answer.json() == {"ready": not expected, "reasons": expected}
    assert ask(found, "/healthz").status_code == 200, "the process lives all the same"
    assert f"Now: <strong>{', '.join(expected) or 'ready'}</strong>" in ask(found, "/").text
    samples = {metric.name: metric.samples for metric in host_metrics(found, Path("/"))}
    told = {sample.labels["reason"]: sample.value for sample in samples["dozor_not_ready"]}
    assert told == {reason: float(reason in expected) for reason in REASONS}


def test_a_reason_that_is_none_of_those_documented_is_not_told() -> None:
    assert readiness("a secret of the store's").reasons() == []


def test_figures_are_of_this_moment(tmp_path: Path) -> None:
    found = readiness()
    answer = ask(found, "/metrics")
    assert "some_figure 3.0" in answer.text
    assert found.reception is not None
    assert found.reception.refreshed == 1  # type: ignore[attr-defined]
    samples = {metric.name: metric.samples[0] for metric in host_metrics(found, tmp_path)}
    assert (samples["dozor_spool_bytes"].value, samples["dozor_spool_frames"].value) == (4096.0, 7.0)
    free = samples["dozor_disk_free_bytes"]
    assert free.labels == {"directory": "data_dir"}
    assert abs(free.value - shutil.disk_usage(tmp_path).free) < 1 << 30
    before = {metric.name: metric.samples[0].value for metric in host_metrics(Readiness(), tmp_path)}
    assert (before["dozor_spool_bytes"], before["dozor_spool_frames"]) == (0.0, 0.0)


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics"])
def test_only_reading_is_answered(path: str) -> None:
    assert ask(readiness(), path, "POST").status_code == 405
    assert ask(readiness(), path, "HEAD").status_code == 200
    assert ask(readiness(), path.rstrip("/") + "/x").status_code == 404
    assert "script" not in ask(readiness(), "/").text


@pytest.mark.parametrize(
    ("refusing", "store_up", "failing", "told"),
    [
        (False, True, False, set()),
        (False, False, False, set()),  # the spool takes its place
        (True, False, False, {"store", "spool_full"}),
        (True, True, True, {"store", "spool_full"}),
        (False, True, True, {"admission"}),
        (False, False, True, set()),  # new ones are let in for later
    ],
)
def test_what_receiving_says(refusing: bool, store_up: bool, failing: bool, told: set[str]) -> None:
    here: Any = SimpleNamespace(
        pipeline=SimpleNamespace(
            keeper=SimpleNamespace(refusing=refusing, store_up=store_up, reason="spool_full" if refusing else "")
        ),
        terminals=SimpleNamespace(failing=failing),
    )
    assert Receiving.reasons(here) == told


def test_a_data_directory_that_is_gone_costs_its_own_figure_alone(tmp_path: Path) -> None:
    samples = {metric.name: metric.samples for metric in host_metrics(readiness("spool_error"), tmp_path / "gone")}
    assert samples["dozor_disk_free_bytes"] == []
    assert [sample.value for sample in samples["dozor_spool_bytes"]] == [4096]
    assert [sample.value for sample in samples["dozor_spool_frames"]] == [7]
    assert {sample.labels["reason"]: sample.value for sample in samples["dozor_not_ready"]}["spool_error"] == 1
