"""`dozor calibration`: tables go in and come out unchanged, and what is wrong is named."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from gateway.cli import main
from gateway.commands.calibration_csv import read_points, written
from gateway.commands.csv_file import ImportFileError
from gateway.store.calibrations import Point

TABLE = "code,litres\n0,0\n263,40.5\n548.25,80\n"


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, object]]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def terminal(shared_dsn: str) -> str:
    """One that is registered."""
    name = uuid.uuid4().hex
    with psycopg.connect(shared_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES (%s)", (name,))
    return name


@pytest.fixture
def dozor(
    shared_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """`dozor calibration …` on that store, where tank.csv lies."""
    monkeypatch.setenv("DOZOR_STORE__DSN", shared_dsn)
    monkeypatch.chdir(tmp_path)
    Path("tank.csv").write_text(TABLE, encoding="utf-8")

    def run(*words: str) -> Said:
        try:
            code = main(["calibration", *words])
        except SystemExit as error:
            code = int(error.code or 0)
        return Said(code, *capsys.readouterr())

    return run


def test_a_table_goes_in_and_comes_out(dozor: Callable[..., Said], terminal: str) -> None:
    said = dozor("import", terminal, "2", "tank.csv", "--from", "2026-11-01T10:00:00+03:00")
    assert (said.code, said.out) == (0, "version 1 of sensor 2, 3 points: holds from 2026-11-01T07:00:00Z\n")
    assert "hint: tank.csv: 3 points" in said.err
    assert dozor("export", terminal, "2").out == TABLE
    (told,) = dozor("show", terminal, "--json").lines
    assert told == {
        "terminal": terminal,
        "sensor": 2,
        "version": 1,
        "from": "2026-11-01T07:00:00Z",
        "holds": "now",
        "points": [{"code": 0, "litres": 0}, {"code": 263, "litres": 40.5}, {"code": 548.25, "litres": 80}],
    }
    assert dozor("show", terminal).out.split("\t")[:4] == ["sensor 2", "version 1", "from 2026-11-01T07:00:00Z", "now"]
    assert dozor("show", terminal, "1").out == ""


def test_versions_are_kept_and_it_is_said_how_long_each_holds(dozor: Callable[..., Said], terminal: str) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    dozor("import", terminal, "1", "tank.csv", "--from", "2026-11-01")
    dozor("import", terminal, "1", "tank.csv", "--from", tomorrow)
    Path("tank.csv").write_text("litres;code\n0;5\n66,5;100\n", encoding="utf-8")
    (told,) = dozor("import", terminal, "1", "tank.csv", "--from", "2026-11-01", "--json").lines
    assert told == {
        "terminal": terminal, "sensor": 1, "version": 3, "from": "2026-11-01T00:00:00Z", "until": tomorrow, "points": 2,
    }  # fmt: skip
    shown = [(line["version"], line["holds"]) for line in dozor("show", terminal, "1", "--json").lines]
    assert shown == [(1, "superseded"), (3, "now"), (2, "later")]
    assert dozor("export", terminal, "1").out == "code,litres\n5,0\n100,66.5\n"
    assert dozor("export", terminal, "1", "--table", "1").out == TABLE
    said = dozor("import", terminal, "1", "tank.csv")  # what holds from now on is given again by the time shown
    since = str(dozor("show", terminal, "1", "--json").lines[2]["from"])
    assert said.out.endswith(f"holds from {since} until {tomorrow}, when a later one does\n")
    dozor("import", terminal, "1", "tank.csv", "--from", since)
    assert [line["holds"] for line in dozor("show", terminal, "1", "--json").lines][2:4] == ["superseded", "now"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import", "{}x", "1", "tank.csv"), "is not registered: dozor terminal add"),
        (("import", "{}", "0", "tank.csv"), "sensors are numbered from 1"),
        (("show", "{}x"), "is not registered: dozor terminal add"),
        (("export", "{}", "1"), "has none that holds now: dozor calibration show"),
        (("export", "{}", "1", "--table", "7"), "has no version 7"),
        (("import", "{}", "1", "tank.csv", "--from", "2026-11-01T10:00"), "nor an instant with its offset"),
        (("import", "{}", "1", "tank.csv", "--from", "0001-01-01T00:00+14:00"), "nor an instant with its offset"),
        (("import", "{}", "one", "tank.csv"), "'one' is no sensor: sensors are numbered from 1"),
        (("export", "{}", "99999999999"), "sensors are numbered from 1"),
        (("show", "{}", "10000"), "sensors are numbered from 1"),
        (("import", "{}", "1", "tank.csv", "--from", "2026-11-01 10:00"), "nor an instant with its offset"),
    ],
)
def test_what_cannot_be_is_refused(
    dozor: Callable[..., Said], terminal: str, words: tuple[str, ...], said: str
) -> None:
    answer = dozor(*(word.format(terminal) for word in words))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_table_with_hints_says_them(dozor: Callable[..., Said], terminal: str) -> None:
    Path("tank.csv").write_text("code,litres\n100,5\n5000,700\n", encoding="utf-8")
    said = dozor("import", terminal, "1", "tank.csv", "--from", "2126-11-01")
    assert said.code == 0
    hints = [line.removeprefix("hint: tank.csv: ") for line in said.err.splitlines()]
    assert [hint[:9] for hint in hints] == ["code 5000", "2 points:", "it begins", "it holds "]


def test_all_problems_of_a_file_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "tank.csv"
    file.write_text("sep=,\ncode,litres\n0,0\n\n5\n7,x\n1e3,nan\n", encoding="utf-8")
    with pytest.raises(ImportFileError) as caught:
        read_points(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["5", "6", "7", "7"]
    file.write_text("code,litres\n10,0\n5,5\n6,5\n", encoding="utf-8")
    with pytest.raises(ImportFileError) as caught:
        read_points(file)
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["3", "4"]


@pytest.mark.parametrize("number", ["nan", "inf", "1_0", "٣", "0x10", "1e5", "9" * 16, "-", "1.2.3", ""])
def test_only_numbers_are_numbers(tmp_path: Path, number: str) -> None:
    file = tmp_path / "tank.csv"
    file.write_text(f"code;litres\n0;0\n{number};5\n", encoding="utf-8")
    with pytest.raises(ImportFileError, match="is no number"):
        read_points(file)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", b"code,litres\n", b'code,litres\n"1,2\n', b"\0\1,\2"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tank.csv"
    file.write_bytes(content)
    with pytest.raises(ImportFileError):
        read_points(file)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ImportFileError, match="larger than 1 MiB"):
        read_points(Path("/dev/zero"))


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    points = [Point(0.1 + n * 1.7, 1 / 3 + n) for n in range(200)]
    file = tmp_path / "tank.csv"
    file.write_text(written(points), encoding="utf-8")
    for read, point in zip(read_points(file), points, strict=True):
        assert read == pytest.approx(point, abs=1e-12)
