"""Whatever a file, a variable or an argument holds: it gives a value, or our own error with place and remedy."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.commands.decode_errors import HexError
from gateway.commands.decode_input import read_input
from gateway.commands.fleet_csv import ENCODINGS, ImportFileError, read_fleet
from gateway.configuration.catalogue import CatalogueError, read_catalogue
from gateway.configuration.reading import KEYS, REPEATED, ConfigError, load
from gateway.simulator.scenario import ScenarioError, parse_scenario
from protocols.records import identity_of
from tests.gateway.configuration.test_reading import EVERY_KEY, as_toml
from ticketing import policies
from ticketing.clocks.requests import FIELDS, answer
from ticketing.working_time.errors import ClockInputError, PolicyError

ROOT = Path(__file__).resolve().parents[1]
PLAIN = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def folder() -> Iterator[Path]:
    """Where files are written: one for all examples."""
    with tempfile.TemporaryDirectory() as name:
        _Files.folder = Path(name)
        yield Path(name)


class _Files:
    folder = Path()


def written(name: str, content: str | bytes) -> Path:
    file = _Files.folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return file


def toml(value: Any) -> str:
    """A value as TOML has it."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return (
                "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf" if math.isinf(value) else repr(value)
            )
        case int():
            return str(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007F")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml(str(key))} = {toml(its)}' for key, its in value.items())}}}"
    told: str = value.isoformat()
    return told


texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
odd = st.sampled_from([
    "0", "-1", "1e9", "5 minutes", "1d", "-3s", "99999999999999999999d", "4GiB", "::", "[::1]:80", "a:b:c", ":1",
    "127.0.0.1:0", "127.0.0.1:99999", "localhost:80", "10.0.0.0/33", "10.0.0.1/8", "::/0", "http://", "https://x/{y}",
    "https://[", "known", "none", "../x", "/dev/null", "/", "postgresql://u:secret@h/d", "host=", "'", "Europe/Moscow",
    "teltonika=1", "teltonika/udp=127.0.0.1:1", "=,=", "a@b", "@", "Имя <a@b>", "true", "nan", "after-sales@2",
])  # fmt: skip
scalars = (
    odd | texts | st.booleans() | st.floats() | st.integers(-(2**70), 2**70) | st.just(10**400)
    | st.sampled_from([date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), time(1, 2)])
)  # fmt: skip
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(texts, v, max_size=3), max_leaves=5)


def cut(text: str) -> st.SearchStrategy[str]:
    """The text with a piece of it gone, doubled, or replaced."""
    pieces = re.findall(r"\w+|\s+|.", text)
    other = st.sampled_from(sorted(set(pieces))) | odd | texts.map(lambda t: t[:5])
    change = st.tuples(st.integers(0, len(pieces) - 1), st.integers(0, 3), st.lists(other, max_size=3))

    def apply(changes: list[tuple[int, int, list[str]]]) -> str:
        found = list(pieces)
        for at, length, new in changes:
            found[at : at + length] = new
        return "".join(found)

    return st.lists(change, min_size=1, max_size=3).map(apply)


# -- settings ---------------------------------------------------------------------------------------------------------


def refused(kind: type[Exception], read: Callable[[], object]) -> Any:
    """The error of that kind, None where there is none; whatever else is raised is a fault."""
    try:
        read()
    except kind as error:
        return error
    return None


def settings_of(text: str | bytes, environ: dict[str, str]) -> list[str]:
    """What is wrong with settings, each with its place."""
    file = written("dozor.toml", text)
    error = refused(ConfigError, lambda: load(file, {"HOME": "/x", **environ}, implicit=False, whole=True))
    for problem in error.problems if error else ():
        assert re.match(rf"({re.escape(str(file))}:\d+|environment): ", str(problem)), str(problem)
        assert problem.what
        assert problem.remedy
    return [str(problem) for problem in error.problems] if error else []


@PLAIN
@given(st.sampled_from(sorted(KEYS)), values)
def test_any_value_of_any_key(key: str, value: Any) -> None:
    table, _, name = key.rpartition(".")
    text = f"[[{table}]]\n{name} = {toml(value)}\n" if table in REPEATED else as_toml(key, toml(value))
    for problem in settings_of(text, {}):
        assert table.split(".")[0] in problem or name in problem, problem
        assert "secret" not in problem or key != "store.dsn", "a DSN is never repeated"


@PLAIN
@given(st.sampled_from(sorted(KEYS)), odd | texts)
def test_any_text_in_any_variable(key: str, value: str) -> None:
    variable = "DOZOR_" + key.upper().replace(".", "__")
    for problem in settings_of("", {variable: value}):
        assert variable in problem or key.split(".")[0] in problem, problem


@PLAIN
@given(texts | odd)
@example("teltonika=127.0.0.1:1,teltonika=127.0.0.1:1")
@example("teltonika=,omnicomm")
@example("/udp=:1")
def test_any_listeners_in_short_form(value: str) -> None:
    settings_of("", {"DOZOR_LISTEN": value})


ALL = "".join(as_toml(key, text) for key, _, text, _, _ in EVERY_KEY if "." not in key) + "".join(
    f"[{table}]\n"
    + "".join(f"{row[0].rpartition('.')[2]} = {row[2]}\n" for row in EVERY_KEY if row[0].rpartition(".")[0] == table)
    for table in dict.fromkeys(row[0].rpartition(".")[0] for row in EVERY_KEY if "." in row[0])
)


@PLAIN
@given(cut(ALL))
def test_a_file_that_was_spoilt(text: str) -> None:
    settings_of(text, {})


@PLAIN
@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfdata_dir = '/x'")
@example(b"x" * 100_000)
@example(b"[" * 5000)
@example(b"a = " + b"[" * 5000)
@example(b"a." * 3000 + b"b = 1")
def test_what_is_no_file_of_settings(content: bytes) -> None:
    settings_of(content, {})


# -- what settings name -----------------------------------------------------------------------------------------------

CATALOGUE = """grace_days = 30
[[release]]
model = "FMB920"
version = "03.27.07"
released = 2026-01-31
mark = "critical"
[[release]]
model = "protocol:omnicomm"
version = "312"
released = 2025-11-01
"""


@PLAIN
@given(cut(CATALOGUE) | st.binary(max_size=200))
@example("grace_days = nan\n")
@example("release = 3\n")
@example('[[release]]\nmodel = "x"\nversion = 3\nreleased = 2026-13-01\n')
def test_any_catalogue(content: str | bytes) -> None:
    file = written("catalogue.toml", content)
    error = refused(CatalogueError, lambda: read_catalogue(file))
    if error:
        assert all(re.match(rf"{re.escape(str(file))}(:\d+)?: ", problem) for problem in error.problems)
    else:
        assert 0 <= read_catalogue(file).grace_days < math.inf


PRESETS = {name: policies.source(name) for name in ("dealer-desk", "after-sales")}


@PLAIN
@given(st.sampled_from(sorted(PRESETS)).flatmap(lambda name: cut(PRESETS[name])) | st.binary(max_size=200))
def test_any_policy(content: str | bytes) -> None:
    file = written("ours.toml", content)
    told = policies.problems(file)
    for problem in told:
        assert isinstance(problem, PolicyError)
        assert problem.file == str(file)
        assert problem.line >= 1
        assert problem.remedy
    if told:
        with pytest.raises(PolicyError):
            policies.load(file)
    else:
        assert policies.load(file).clocks


SCENARIO = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]


@PLAIN
@given(cut(SCENARIO) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_scenario(text: str) -> None:
    error = refused(ScenarioError, lambda: parse_scenario(text, "fleet.toml"))
    assert error is None or re.match(r"fleet\.toml:\d+: ", str(error))


# -- fleets -----------------------------------------------------------------------------------------------------------

names = st.text(
    st.characters(codec="cp1251", categories=("L", "N", "P", "S", "Zs"), exclude_characters="\x98\xad"), max_size=30
)
fleets = st.lists(
    st.tuples(st.from_regex(r"[A-Za-z][A-Za-z0-9/_-]{0,20}", fullmatch=True), names, names.map(str.strip)),
    min_size=1, max_size=8, unique_by=lambda row: row[0],
)  # fmt: skip


@PLAIN
@given(fleets, st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans())
def test_a_fleet_that_was_written_is_the_one_that_is_read(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str, quoted: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([("terminal", "name", "model"), *rows])
    found = read_fleet(written("fleet.csv", text.getvalue().encode(encoding)))
    told = [(row["terminal"], row["name"] or "", row["model"] or "") for row in found.rows]
    plain = [[cell.replace("\xa0", " ").strip() for cell in row] for row in rows]  # blanks that do not break
    assert told == [tuple(row) for row in plain]


@PLAIN
@given(
    st.binary(max_size=200)
    | st.lists(texts | odd, max_size=12).map(lambda cells: ",".join(cells).encode("utf-8", "replace")),
    st.sampled_from(["", *ENCODINGS]),
)
@example(b'terminal\n"', "")
@example(b"terminal,name\n" + b'"' + b"x" * 140_000 + b'"', "")
@example(b"\xff\xfet", "")
@example("terminal\u2028x\n1".encode(), "")
@example(b"terminal\r1\r2\r", "")
def test_any_bytes_as_a_fleet(content: bytes, encoding: str) -> None:
    file = written("any.csv", content)
    error = refused(ImportFileError, lambda: read_fleet(file, encoding))
    if error:
        assert all(problem.startswith(f"{file}:") for problem in error.problems)
        assert len(str(error)) < 20_000
    else:
        for row in read_fleet(file, encoding).rows:
            assert identity_of(str(row["terminal"])) == row["terminal"]


# -- bytes for `dozor decode` -----------------------------------------------------------------------------------------

lines = st.lists(
    st.from_regex(r"(0x)?[0-9a-fA-F: ,\\x-]{0,40}", fullmatch=True)
    | st.from_regex(r"[0-9a-f]{8}:? ( ?[0-9a-f]{2,4}){1,16}  .{0,16}", fullmatch=True)
    | st.from_regex(r"(\d\d:\d\d:\d\d|2026-11-21T10:00:00Z|\[\d+\]) .{0,10}[0-9a-f]{0,20}", fullmatch=True)
    | texts | st.sampled_from(["*", "\\x", "b'", "0x", "''", "#L#1;NA", "000000", "00000000  00", "ffffffff: 00"]),
    max_size=6,
)  # fmt: skip


@PLAIN
@given(lines)
def test_any_lines_to_decode(found: list[str]) -> None:
    text = "\n".join(found)
    error = refused(HexError, lambda: read_input(text))
    if error:
        place = re.match(r"line (\d+)(, column (\d+))?: ", str(error))
        assert place is not None, error
        assert 1 <= int(place[1]) <= text.count("\n") + 1
        assert place[3] is None or 1 <= int(place[3]) <= len(text.split("\n")[int(place[1]) - 1]) + 1
    else:
        assert sum(map(len, read_input(text).pieces)) <= len(text.encode())


@PLAIN
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4))
def test_hex_is_read_as_it_was_written(pieces: list[bytes]) -> None:
    spellings: list[Callable[[bytes], str]] = [
        bytes.hex, lambda p: p.hex(" "), lambda p: p.hex(":"), lambda p: "0x" + p.hex().upper(),
        lambda p: "".join(f"\\x{byte:02x}" for byte in p),
    ]  # fmt: skip
    for spell in spellings:
        assert read_input("\n".join(spell(piece) for piece in pieces)).pieces == pieces


# -- questions about clocks -------------------------------------------------------------------------------------------

GOOD = {"policy": "integrator-standard", "clock": "reaction-remote", "start": "2026-11-16T10:00:00+03:00"}


@PLAIN
@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "other"]), odd | texts | st.integers() | st.lists(odd | texts, max_size=3), max_size=3
    )
)
@example({"start": "0001-01-01T00:00:00+14:00"})
@example({"start": "9999-12-31T23:59:59-14:00"})
@example({"budget": "1000000000h"})
@example({"pauses": ["9999-12-31T23:59:59Z.."]})
@example({"pauses": ["2026-11-16T10:00:00+03:00..2026-11-16T09:00:00+03:00"]})
@example({"hours": "00:00-24:00", "days": "mon-sun", "budget": "9d"})
@example({"hours": "09:00-09:00"})
@example({"days": ""})
def test_any_question_about_a_clock(fields: dict[str, Any]) -> None:
    error = refused(ClockInputError, lambda: answer({**GOOD, **fields}))
    if error:
        assert error.field in (*FIELDS, "other", "pause")
        assert error.remedy
    else:
        assert answer({**GOOD, **fields})[0] is not None


def test_these_examples_write_nothing_elsewhere() -> None:
    assert os.listdir(_Files.folder)
