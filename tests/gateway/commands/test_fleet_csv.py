"""Fleets from spreadsheets: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.commands.csv_file import ImportFileError
from gateway.commands.fleet_csv import FleetFile, read_fleet

GOOD = "terminal,name\n356938035643809,Газель 12\n67002,\n"
ROWS = [("356938035643809", "Газель 12"), ("67002", None)]


def read(tmp_path: Path, content: str | bytes, encoding: str = "") -> FleetFile:
    file = tmp_path / "fleet.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_fleet(file, encoding)


def refused(tmp_path: Path, content: str | bytes) -> list[str]:
    with pytest.raises(ImportFileError) as caught:
        read(tmp_path, content)
    return [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1251"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiter_encoding_and_line_ends_are_found_out(
    tmp_path: Path, encoding: str, delimiter: str, end: str
) -> None:
    text = GOOD.replace(",", delimiter).replace("\n", end)
    raw = (b"\xff\xfe" if encoding == "utf-16-le" else b"") + text.encode(encoding)
    found = read(tmp_path, raw)
    assert [(row["terminal"], row["name"]) for row in found.rows] == ROWS
    assert bool(found.hints) == (encoding not in ("utf-8", "utf-8-sig"))


@pytest.mark.parametrize("name", ["京A12345 重型卡车", "沪B·混凝土搅拌车", "东风天龙牵引车辆"])
def test_chinese_is_told_from_russian(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"terminal,name\n1,{name}\n".encode("gb18030")).rows[0]["name"] == name
    assert read(tmp_path, f"terminal,name\n1,{name}\n".encode("gb18030"), "gb18030").hints == []


@pytest.mark.parametrize("name", ["КАМАЗ", "МАЗ", "Ёлка №5", "ЗИЛ «130»"])
def test_capitals_stay_russian(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"terminal;name\n1;{name}\n".encode("cp1251")).rows[0]["name"] == name


def test_a_spreadsheet_s_own_first_line_and_blanks_do_not_matter(tmp_path: Path) -> None:
    found = read(tmp_path, 'sep=;\n Terminal ; NAME\n\n 67002 ;"a;b"\n;\n')
    assert [(row["terminal"], row["name"]) for row in found.rows] == [("67002", "a;b")]


@pytest.mark.parametrize("identity", ["3.5E+14", "3,50E+14", "3E14", "350000000000504.0", "350000000000504,00"])
def test_what_a_spreadsheet_made_of_an_identity_is_refused(tmp_path: Path, identity: str) -> None:
    (problem,) = refused(tmp_path, f'terminal\n"{identity}"\n')
    assert problem.startswith(f"fleet.csv:2: terminal {identity!r}: a spreadsheet made a number of it")


@pytest.mark.parametrize("identity", ["a/b", "100%", "..", "<b>x</b>", "E14", "12.5", "КАМАЗ-1"])
def test_odd_identities_are_identities(tmp_path: Path, identity: str) -> None:
    assert read(tmp_path, f"terminal\n{identity}\n").rows[0]["terminal"] == identity


def test_all_problems_are_told_at_once_each_with_its_line(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        "terminal,name\n350000000000507,Truck, red\n3.5E+14,\n\n67002,a\n67002,b\n,c\n1," + "x" * 201 + "\n",
    )
    assert [problem.split(": ")[0] for problem in told] == [f"fleet.csv:{line}" for line in (2, 3, 6, 7, 8)]
    assert "3 cells, and the heading has 2" in told[0]
    assert "stands on line 5 already" in told[2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "fleet.csv:1: is empty"),
        ("terminal,colour\nx,red\n", "fleet.csv:1: the heading must be terminal and any of"),
        ("terminal,terminal\n", "fleet.csv:1: the heading"),
        ('terminal\n1\n"2\n', "fleet.csv:3: is not CSV"),
        ("terminal,protocol\n1,smtp\n", "fleet.csv:2: protocol 'smtp': known are teltonika"),
        (b"terminal\n\x98\xff\n", "fleet.csv: neither utf-8, cp1251, gb18030: save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_one_says_why(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert refused(tmp_path, content)[0].startswith(told)


def test_a_wrong_check_digit_is_a_hint(tmp_path: Path) -> None:
    found = read(tmp_path, "terminal\n356938035643800\n356938035643809\n")
    assert len(found.rows) == 2
    (hint,) = found.hints
    assert "fleet.csv:2: terminal 356938035643800: as an IMEI it would end in 9" in hint
