"""amtool judges the example: who is told, and what is not told because its cause is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_rules import alerts

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager" / "alertmanager.yml"


def check(amtool: Path, *arguments: str) -> str:
    done = subprocess.run([amtool, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_is_valid(amtool: Path) -> None:
    assert "SUCCESS" in check(amtool, "check-config", str(CONFIGURATION))


@pytest.mark.parametrize(("severity", "told"), [("critical", "duty"), ("warning", "mail"), ("info", "none")])
def test_severity_decides_who_is_told(amtool: Path, severity: str, told: str) -> None:
    route = ["config", "routes", "test", f"--config.file={CONFIGURATION}", f"--verify.receivers={told}"]
    check(amtool, *route, f"severity={severity}", "alertname=Any")


def test_only_alerts_that_there_are_are_named() -> None:
    named = set(re.findall(r"\bDozor\w+", CONFIGURATION.read_text(encoding="utf-8").replace("Dozor start", "")))
    assert named <= set(alerts())


def holds(matcher: str, labels: dict[str, str]) -> bool:
    name, sign, value = re.fullmatch(r"(\w+) (=|=~|!=) \"?([^\"]+)\"?", matcher.strip()).groups()  # type: ignore[union-attr]
    told = labels.get(name, "")
    if sign == "=~":
        return re.fullmatch(value, told) is not None
    return (told == value) == (sign == "=")


def suppressed(*firing: dict[str, str]) -> set[str]:
    """Which of the alerts are not told, by the rules of inhibition (a matcher on an absent label sees "")."""
    text = CONFIGURATION.read_text(encoding="utf-8").partition("inhibit_rules:")[2]
    rules = re.findall(
        r"source_matchers: \[(.*)\]\n +target_matchers:(?: \[(.*)\]|\n +- (.*))\n +equal: \[(.*)\]", text
    )
    assert len(rules) == text.count("source_matchers") > 0
    hidden = set()
    for cause, one, other, equal in rules:
        for source in firing:
            for target in firing:
                if (
                    all(holds(matcher, source) for matcher in cause.split(","))
                    and all(holds(matcher, target) for matcher in (one or other).split(","))
                    and all(
                        source.get(label.strip(), "") == target.get(label.strip(), "") for label in equal.split(",")
                    )
                ):
                    hidden.add(" ".join(filter(None, (target["alertname"], target.get("reason")))))
    return hidden


def alert(name: str, job: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "job": job, "instance": "a", "severity": "warning", **labels}


def test_a_store_that_is_down_is_told_once() -> None:
    firing = [
        alert("DozorStoreDown", "down"),
        alert("DozorAcksSlow", "down", protocol="teltonika"),
        alert("DozorSpoolInUse", "down"),
        alert("DozorQueueNotEmptying", "down"),
        alert("DozorNotReady", "down", reason="store"),
        alert("DozorNotReady", "down", reason="spool_full"),
        alert("DozorDiskLow", "down", directory="data_dir"),
        {"alertname": "DozorWatchAbsent", "job": "down", "severity": "critical"},
        {"alertname": "DozorTicketsOverdue", "job": "down", "severity": "warning"},
    ]
    assert suppressed(*firing) == {
        "DozorAcksSlow", "DozorSpoolInUse", "DozorQueueNotEmptying", "DozorNotReady store", "DozorWatchAbsent",
        "DozorTicketsOverdue",
    }  # fmt: skip


def test_another_instances_store_excuses_nothing() -> None:
    slow = alert("DozorAcksSlow", "apart", protocol="teltonika") | {"instance": "b"}
    assert suppressed(alert("DozorStoreDown", "apart"), slow) == set()


def test_what_follows_from_something_else_is_not_told_either() -> None:
    firing = [
        alert("DozorNotReady", "follows", reason="spool_full"),
        alert("DozorNoFrames", "follows"),
        alert("DozorOutboxFailing", "follows", channel="email"),
        alert("DozorOutboxWaiting", "follows", channel="email"),
        alert("DozorOutboxWaiting", "follows", channel="webhook") | {"instance": "b"},
    ]
    told = suppressed(*firing)
    assert told == {"DozorNoFrames", "DozorOutboxWaiting"}


def test_known_terminals_are_served_while_none_is_admitted() -> None:
    others = [alert(name, "new") for name in ("DozorNoFrames", "DozorAcksSlow", "DozorSilenceRising")]
    assert suppressed(alert("DozorNotReady", "new", reason="admission"), *others) == set()
    told = {"DozorNoFrames", "DozorAcksSlow", "DozorSilenceRising"}
    assert suppressed(alert("DozorNotReady", "new", reason="workers"), *others) == told


def test_without_its_cause_each_is_told() -> None:
    assert suppressed(alert("DozorAcksSlow", "alone"), alert("DozorNoFrames", "alone")) == set()
