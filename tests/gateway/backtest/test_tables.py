"""Terminals and truth as CSV: what is written is read; what is wrong is named by FILE:LINE."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.backtest.tables import (
    Fault,
    beside,
    instant,
    iso,
    read_terminals,
    read_truth,
    write_terminals,
    write_truth,
)
from gateway.errors import BacktestError

DAY = 86_400.0
HEADING = "terminal,group_by,group_value,kind,zone,from,to\n"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    terminals = {"1": {"name": "van, 1", "operator": "north"}, "2": {"customer": "Ö"}, "3": {}}
    write_terminals(tmp_path / "t.csv", terminals)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").startswith("terminal,name,operator,customer\n")
    assert read_terminals(tmp_path / "t.csv") == terminals
    faults = [
        Fault("silence", "terminal", DAY, 2 * DAY, terminal="1"),
        Fault("mass-silence", "sim-operator", DAY, float("inf"), group_by="operator", group_value="north"),
        Fault("platform", "gateway", 0.0, 60.0, group_by="gateway"),
    ]
    write_truth(tmp_path / "f.csv", faults)
    assert read_truth(tmp_path / "f.csv") == faults


def test_what_other_generators_add_is_taken(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("listener,terminal,operator\nport 5027,1,\n", encoding="utf-8")
    assert read_terminals(tmp_path / "t.csv") == {"1": {"listener": "port 5027"}}
    write_terminals(tmp_path / "u.csv", {"1": {"listener": "port 5027", "operator": "north"}})
    assert (tmp_path / "u.csv").read_text(encoding="utf-8") == "terminal,operator,listener\n1,north,port 5027\n"
    text = (
        HEADING.strip()
        + ",cause\n,listener,port 5027,platform,gateway,1970-01-02,,firewall\n,,,platform,,1970-01-02,,\n"
    )
    (tmp_path / "f.csv").write_text(text, encoding="utf-8")
    port, own = read_truth(tmp_path / "f.csv")
    assert (port.group_by, port.group_value) == ("listener", "port 5027")
    assert (own.terminal, own.group_by, own.group_value) == (None, "gateway", None)


def test_instants() -> None:
    assert instant("1970-01-02") == instant("1970-01-02T03:00+03:00") == instant("1970-01-02T00:00Z") == DAY
    assert iso(DAY) == "1970-01-02T00:00:00Z"
    with pytest.raises(ValueError, match="'soon' is no date or time: write for example"):
        instant("soon")


def test_the_table_beside_a_trace() -> None:
    assert beside(Path("a/m.npz")) == Path("a/m.terminals.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("terminal,kind\n1,a", "t.csv:1: the heading must have terminal,group_by"),
        (HEADING + "1,operator,x,silence,,1970-01-02,", "t.csv:2: fill either terminal or group_by"),
        (HEADING + "1,,x,silence,,1970-01-02,", "t.csv:2: fill either terminal or group_by"),
        (HEADING + ",The Colour,red,silence,,1970-01-02,", "t.csv:2: group_by 'The Colour'"),
        (HEADING + ",operator,,silence,,1970-01-02,", "t.csv:2: group_by 'operator'"),
        (HEADING + "1,,,,,1970-01-02,", "t.csv:2: kind is empty"),
        (HEADING + "1,,,silence,,1970-01-02,\n1,,,silence,,soon,", "t.csv:3: 'soon' is no date"),
        (HEADING + "1,,,silence,,1970-01-02,1970-01-01", "t.csv:2: to 1970-01-01 is before from 1970-01-02"),
        (HEADING + "1,,,silence", "t.csv:2: 4 cells"),
        (HEADING + '1,,,"silence', "t.csv: is not CSV in UTF-8"),
    ],
)
def test_a_wrong_truth_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(BacktestError) as refused:
        read_truth(tmp_path / "t.csv")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"terminal,The Colour\n1,red", "t.csv:1: the heading must have terminal, each once"),
        (b"terminal,The Colour\n1,red", "not 'The Colour'"),
        (b"terminal,name,name\n1,a,b", "t.csv:1: the heading must have terminal, each once"),
        (b"name\na", "t.csv:1: the heading must have terminal, each once"),
        (b"terminal," + b",".join(b"c%d" % n for n in range(64)), "t.csv:1: the heading must have"),
        (b"terminal,name\n,a", "t.csv:2: terminal '': an identity is"),
        (b"terminal\n1\n1", "t.csv:3: terminal 1 is there twice"),
        (b"terminal\n" + b"x" * 65, "t.csv:2: terminal"),
        (b"terminal,name\n1,\xff", "t.csv: is not CSV in UTF-8"),
        (b"", "t.csv:1: the heading must have"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(BacktestError) as refused:
        read_terminals(tmp_path / "t.csv")
    assert said in str(refused.value)
    with pytest.raises(BacktestError, match=r"none\.csv: cannot be read"):
        read_terminals(tmp_path / "none.csv")
