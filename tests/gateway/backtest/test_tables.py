"""Terminals and truth as CSV: what is written is read; what is wrong is named by FILE:LINE."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

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


# -- anything that may be known, written and read

FEW = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
# As the registry takes them: printable, and without blanks around them.
cells = (
    st.text(st.characters(codec="utf-8"), max_size=12).map(str.strip).filter(lambda cell: cell and cell.isprintable())
)
identities = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=12)
attributes = st.sampled_from(["operator", "customer", "listener", "stage_until", "a_1"])
seconds = st.integers(0, 4_000_000_000).map(float)


@FEW
@given(st.dictionaries(identities, st.dictionaries(attributes, cells, max_size=3), max_size=5))
@example({"1": {"operator": 'in "quotes", and'}, "2": {"operator": ";\xa0x"}, "#3": {"a_1": "'"}})
def test_any_terminals_come_back_as_they_were(tmp_path: Path, terminals: dict[str, dict[str, str]]) -> None:
    write_terminals(tmp_path / "t.csv", terminals)
    assert read_terminals(tmp_path / "t.csv") == terminals


@FEW
@given(
    st.lists(
        st.builds(
            lambda kind, zone, begins, lasts, whose: Fault(kind, zone, begins, begins + lasts, **whose),
            cells, cells, seconds, seconds | st.just(float("inf")),
            st.one_of(
                identities.map(lambda name: {"terminal": name}),
                st.tuples(attributes, cells).map(lambda both: {"group_by": both[0], "group_value": both[1]}),
                st.just({"group_by": "gateway"}),
            ),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_any_truth_comes_back_as_it_was(tmp_path: Path, faults: list[Fault]) -> None:
    write_truth(tmp_path / "f.csv", faults)
    assert read_truth(tmp_path / "f.csv") == faults


@FEW
@given(
    st.binary(max_size=60) | st.text(max_size=40).map(lambda text: (HEADING + text).encode("utf-8", "surrogatepass"))
)
@example(b'terminal\n"1\n')
@example((HEADING + "1,,,silence,,0001-01-01T00:00+14:00,\n").encode())
@example((HEADING + "1,,,silence,,9999-12-31T23:59-14:00,\n").encode())
def test_any_file_is_read_or_refused_by_its_name(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "any.csv"
    file.write_bytes(raw)
    told: list[str] = []
    for read in (read_terminals, read_truth):
        try:
            read(file)
        except BacktestError as error:
            told.append(str(error))
    assert all(what.startswith(f"{file}:") for what in told)
