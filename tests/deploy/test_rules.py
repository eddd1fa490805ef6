"""Prometheus' own promtool judges the alert rules, and what the dashboard asks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Match

from gateway.service.health import REASONS
from gateway.watch.detecting import DETECTORS
from tests.docs.test_links import anchors
from ticketing.clocks.history import Verdict
from ticketing.desk.app import routes
from ticketing.model.kinds import COMMON, STORM
from ticketing.model.states import State

ROOT = Path(__file__).resolve().parent.parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "dozor.rules.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dozor.json").read_text(encoding="utf-8"))
METRIC = re.compile(r"\b((?:dozor|process)_[a-z_]+)\b")


def alerts() -> list[str]:
    return re.findall(r"^\s*- alert: (\w+)$", RULES.read_text(encoding="utf-8"), re.MULTILINE)


def promises() -> set[str]:
    """Names of the metrics in docs/metrics.md, with the series a histogram has."""
    rows = re.findall(r"^\| `([a-z_]+)[`{][^|]*\| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.M)
    names = {name for name, _ in rows}
    return names | {f"{name}_{end}" for name, kind in rows if kind == "histogram" for end in ("bucket", "sum", "count")}


def expressions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("expr"), str):
            yield node["expr"]
        for inner in node.values():
            yield from expressions(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from expressions(inner)


def run(promtool: Path, *arguments: str) -> str:
    done = subprocess.run(
        [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=120
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


def test_the_rules_are_valid(promtool: Path) -> None:
    assert f"{len(alerts())} rules found" in run(promtool, "check", "rules", RULES.name)


def test_the_rules_fire_when_they_should(promtool: Path) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", "dozor.rules.test.yml")


def test_the_scrape_configuration_is_valid(promtool: Path) -> None:
    assert "SUCCESS" in run(promtool, "check", "config", "prometheus.yml")


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_is_tried_and_explained(alert: str) -> None:
    assert alert in (PROMETHEUS / "dozor.rules.test.yml").read_text(encoding="utf-8")
    assert f"### {alert}\n" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def addresses(file: Path) -> dict[str, tuple[str, str]]:
    """`runbook_url` and `dashboard_url` by alert."""
    line = r"^ +- alert: (\w+)\n(?:(?! +- alert:).*\n)*? +runbook_url: (\S+)\n +dashboard_url: (\S+)$"
    return {name: (runbook, board) for name, runbook, board in re.findall(line, file.read_text("utf-8"), re.M)}


def test_each_alert_leads_to_its_runbook_and_to_the_dashboard() -> None:
    """By absolute addresses: where an alert is read, there is nothing for a relative one to be relative to."""
    sections = anchors(ROOT / "docs" / "operations.md")
    assert list(addresses(RULES)) == alerts()
    for alert, (runbook, dashboard) in addresses(RULES).items():
        base, _, anchor = runbook.partition("#")
        assert base == "https://dozor.example/docs/operations.md"
        assert anchor == alert.lower()
        assert anchor in sections
        assert dashboard == f"https://grafana.example/d/{DASHBOARD['uid']}"


def test_both_addresses_are_set_as_the_runbooks_say(promtool: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(sed -i .*?)```", (ROOT / "docs" / "operations.md").read_text("utf-8"), re.DOTALL)
    own = tmp_path / "dozor.rules.yml"
    own.write_text(RULES.read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["sh", "-c", block.replace("/etc/prometheus/dozor.rules.yml", str(own))], check=True, timeout=10)
    docs = "https://git.example.com/dozor/src/branch/main/docs/operations.md"
    dashboard = "https://grafana.example.com/d/dozor"
    assert addresses(own) == {alert: (f"{docs}#{alert.lower()}", dashboard) for alert in alerts()}
    assert f"{len(alerts())} rules found" in run(promtool, "check", "rules", str(own))


def test_the_runbook_knows_every_reason_why_it_is_not_ready() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("### DozorNotReady\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(REASONS)


def test_runbooks_lead_to_pages_that_there_are() -> None:
    text = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Alerts")[2]
    pages = set(re.findall(r"`(/[a-z]+(?:\?[a-z]+=[a-z_-]+)?)`", text)) - {"/readyz", "/metrics", "/healthz"}
    assert {"/fleet", "/quarantine", "/terminals", "/tickets?verdict=breached", "/tickets?kind=storm"} <= pages
    for page in pages:
        path, _, query = page.partition("?")
        scope = {"type": "http", "path": path, "method": "GET"}
        assert any(route.matches(scope)[0] is Match.FULL for route in routes()), page
        name, _, value = query.partition("=")
        known = {
            "": {""},
            "verdict": set(Verdict),
            "state": set(State),
            "kind": {STORM, *COMMON, *(detector.kind for detector in DETECTORS)},
        }
        assert value in known[name], page


def test_only_documented_metrics_are_asked_for() -> None:
    expressions_of_rules = re.sub(
        r"(?m)^\s*(#|runbook_url:|dashboard_url:|summary:|description:|- name:).*$", "", RULES.read_text("utf-8")
    )
    asked = set(METRIC.findall(expressions_of_rules)) | {
        name for expression in expressions(DASHBOARD) for name in METRIC.findall(expression)
    }
    assert asked - promises() == set()


def test_the_dashboard_asks_what_prometheus_understands(promtool: Path, tmp_path: Path) -> None:
    variables = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
    rules = []
    for place, expression in enumerate(expressions(DASHBOARD)):
        for name, value in variables.items():
            expression = expression.replace(name, value)
        assert "$" not in expression
        rules.append({"record": f"panel:{place}", "expr": expression})
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML too
    assert f"{len(rules)} rules found" in run(promtool, "check", "rules", str(file))


def test_the_dashboard_can_be_provisioned() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert DASHBOARD["uid"] == "dozor"
    assert "id" not in DASHBOARD
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "job", "instance"}
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [(cell, row) for panel in panels for cell, row in cells(panel["gridPos"])]
    assert len(places) == len(set(places)), "panels lie over one another"


def cells(grid: dict[str, int]) -> Iterator[tuple[int, int]]:
    assert grid["x"] + grid["w"] <= 24
    for column in range(grid["x"], grid["x"] + grid["w"]):
        for row in range(grid["y"], grid["y"] + grid["h"]):
            yield column, row
