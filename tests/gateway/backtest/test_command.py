"""`dozor backtest` from the outside: lines, summary, comparison, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import json as encoding

from gateway.backtest.tables import Fault, iso, write_terminals, write_truth
from gateway.cli import main
from gateway.watch.listening import Beat
from tests.gateway.backtest.traces import START, every, saved, trace

FLOOR = ("--set", "watch.silence.floor=60", "--set", "watch.silence.ceiling=3600")
EVENT = [
    "at",
    "event",
    "kind",
    "terminal",
    "incident",
    "parent",
    "group",
    "members",
    "zone",
    "zone_confidence",
    "reason",
]
SUMMARY = ["terminal_days", "tickets", "tickets_per_1000_terminal_days"]
SCORED = [
    *SUMMARY, "false_per_1000_terminal_days", "missed", "detect_s", "detect_intervals", "mass", "zones_right",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three terminals: one dies, one is away for a while, one is well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOZOR_DATA_DIR", str(tmp_path / "data"))
    heard = {0: every(10, 0, 2000), 1: [*every(10, 3, 1500), *every(10, 2403, 5000)], 2: every(10, 5, 5000)}
    saved(tmp_path / "t.npz", trace(heard), 3)
    write_truth(tmp_path / "truth.csv", [Fault("silence", "terminal", START + 2000, START + 5000, terminal="t0")])
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        code = main(["backtest", *words])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def lines(capsys: pytest.CaptureFixture[str], *words: str, odd: str = "") -> list[dict[str, Any]]:
    code, out, err = said(capsys, *words, "--json")
    assert (code, err) == (0, odd)
    return [json.loads(line) for line in out.splitlines()]


def test_events_and_the_summary_last(capsys: pytest.CaptureFixture[str]) -> None:
    *events, last = lines(capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR)
    assert [list(event) for event in events] == [EVENT] * 3
    assert [(event["event"], event["terminal"]) for event in events] == [
        ("opened", "t1"), ("opened", "t0"), ("recovered", "t1"),
    ]  # fmt: skip
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert events[0]["at"] == iso(START + 1620)
    assert events[0]["reason"].startswith("silent for 2 min 7 s, limit 1 min")
    summary = last["summary"]
    assert (list(last), list(summary)) == (["summary"], SCORED)
    assert summary["tickets"] == {"silence": 2}
    assert summary["missed"] == 0
    assert 60 < summary["detect_s"]["p50"] < 180
    assert summary["detect_intervals"]["p50"] == pytest.approx(summary["detect_s"]["p50"] / 10, rel=0.01)
    days = sum(5000 - begin for begin in (0, 3, 5)) / 86_400
    assert summary["terminal_days"] == pytest.approx(days, abs=2e-3)
    assert summary["false_per_1000_terminal_days"] == pytest.approx(1000 / (days - 3000 / 86_400), rel=0.01)
    assert summary["mass"] == {"injected": 0, "one_ticket": 0, "members_purity": None}


def test_without_a_truth_and_under_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    (first, second) = lines(capsys, "--trace", "t.npz", *FLOOR, "--compare", "watch.silence.floor=40m")[-2:]
    assert list(first["summary"]) == list(second["summary"]) == SUMMARY
    assert (first["summary"]["tickets"], second["summary"]["tickets"]) == ({"silence": 2}, {"silence": 1})
    assert second["compare"] == {"watch.silence.floor": "40m"}
    code, out, err = said(
        capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR, "--compare", "watch.silence.floor=40m"
    )
    assert (code, err) == (0, "")
    table = {line[:40].strip(): line.split()[-2:] for line in out.splitlines()}
    assert table["tickets: silence"] == ["2", "1"]
    assert "watch.silence.floor=40m" in out.splitlines()[0]
    assert "1 of 1" in out
    assert table["zone terminal, named"][-1] == "1"
    assert table["zones right at confidence 0.8 to 1"] == ["of", "0"]


def test_the_period_is_learned_from_before_and_counted_within(capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ("--from", iso(START + 1800), "--to", iso(START + 4000))
    *events, last = lines(capsys, "--trace", "t.npz", *FLOOR, *bounds)
    assert [(event["event"], event["terminal"]) for event in events] == [("opened", "t0"), ("recovered", "t1")]
    assert last["summary"]["terminal_days"] == round(3 * 2200 / 86_400, 3)
    *events, _ = lines(capsys, "--trace", "t.npz", *FLOOR, "--to", iso(START + 1700))
    assert [(event["event"], event["terminal"]) for event in events] == [("opened", "t1")]


def test_groups_need_the_table_of_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    outage = Fault("mass-silence", "sim-operator", START + 1490, START + 2400, group_by="operator", group_value="north")
    write_truth(Path("truth.csv"), [outage])
    odd = "dozor backtest: no terminal has operator north, which the truth has a fault of: give --terminals\n"
    *_, alone = lines(capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR, odd=odd)
    write_terminals(Path("known.csv"), {"t1": {"operator": "north"}})
    *_, named = lines(capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR, "--terminals", "known.csv")
    write_terminals(Path("t.terminals.csv"), {"t0": {"operator": "north"}, "t1": {"operator": "north"}})
    *_, beside = lines(capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR)
    rate = 1000 / (sum(5000 - begin for begin in (0, 3, 5)) / 86_400)
    assert alone["summary"]["false_per_1000_terminal_days"] == pytest.approx(2 * rate, rel=0.01)
    assert named["summary"]["false_per_1000_terminal_days"] == pytest.approx(rate, rel=0.01)
    assert beside["summary"]["false_per_1000_terminal_days"] == 0
    assert beside["summary"]["mass"]["injected"] == 1


def test_a_fault_of_a_stranger_is_left_out_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    write_truth(Path("truth.csv"), [Fault("silence", "terminal", START + 2000, START + 5000, terminal="stranger")])
    odd = "dozor backtest: 1 faults are of terminals that are not there, such as stranger: left out\n"
    *_, last = lines(capsys, "--trace", "t.npz", "--truth", "truth.csv", *FLOOR, odd=odd)
    assert last["summary"]["missed"] == 0


def test_a_trace_of_centuries_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    rows = trace({0: [*every(10, 0, 100), 4000 * 86_400.0]})
    saved(Path("long.npz"), rows, 1)
    code, _, err = said(capsys, "--trace", "long.npz")
    assert code == 2
    assert "it spans 4000 days: at most 1098: set --from and --to" in err
    assert said(capsys, "--trace", "long.npz", "--to", iso(START + 500))[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trace", "none.npz"), "none.npz: cannot be read: No such file or directory: correct its path or rights"),
        (("--trace", "truth.csv"), "truth.csv: is no trace, or is damaged"),
        (("--trace", "t.npz", "--set", "watch.silence.flor=60"), 'unknown key: did you mean "watch.silence.floor"?'),
        (
            ("--trace", "t.npz", "--compare", "watch.silnce.floor=60"),
            'watch.silnce.floor: unknown key: did you mean "watch.silence.floor"?',
        ),
        (("--trace", "t.npz", "--set", "watch.silence.floor=soon"), '"soon" is no duration'),
        (("--trace", "t.npz", "--set", "watch.silence.floor"), "is no KEY=VALUE: write for example"),
        (("--trace", "t.npz", "--set", "desk.url=http://x"), "desk.url decides nothing here: give keys of watch.*"),
        (("--trace", "t.npz", "--set", "listen.address=x"), "listen.address decides nothing here"),
        (("--trace", "t.npz", "--truth", "t.npz"), "t.npz: is not CSV in UTF-8"),
        (("--trace", "t.npz", "--terminals", "none.csv"), "none.csv: cannot be read"),
        (("--trace", "t.npz", "--from", "soon"), "'soon' is no date or time"),
        (("--trace", "t.npz", "--from", "2026-11-02", "--to", "2026-11-01"), "--to is not after --from"),
        (("--trace", "t.npz", "--from", "2030-01-01"), "nothing arrived in the period"),
        (("--trace", "t.npz", "--to", "2020-01-01"), "nothing arrived in the period"),
    ],
)
def test_what_it_refuses(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str) -> None:
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert told in err
    assert not Path("data").exists()


def test_over_the_store(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, postgres_dsn: str) -> None:
    """The same three terminals, as the service would have stored them; it listened badly from 2 600 on."""
    heard = {1: every(10, 0, 2000), 2: [*every(10, 3, 1500), *every(10, 2403, 2600)], 3: every(10, 5, 2600)}
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES ('t0'), ('t1'), ('t2')")
        link.execute("INSERT INTO layout (names, terminal) VALUES ('{}', 1)")
        with link.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO record_outside SELECT %s, to_timestamp(%s), to_timestamp(%s), 0, 0, 0, 0, 0, 0, 6, id, 0,"
                " '{}', NULL FROM layout",
                [(terminal, START + at, START + at) for terminal, times in heard.items() for at in times],
            )
        beat = Beat(START, 0.0, [(START + 2605, START + 9000)])
        link.execute("INSERT INTO gateway_state (key, value) VALUES ('listening', %s)", (encoding.encode(beat),))
    monkeypatch.setenv("DOZOR_STORE__DSN", postgres_dsn)
    *events, last = lines(capsys, *FLOOR, "--truth", "truth.csv")
    assert [(event["event"], event["terminal"]) for event in events] == [("opened", "t1"), ("opened", "t0")]
    assert list(last["summary"]) == SCORED
    assert last["summary"]["missed"] == 0
    code, out, err = said(capsys, "--from", "2030-01-01", "--to", "2030-02-01")
    assert (code, out) == (2, "")
    assert "nothing arrived in the period" in err
