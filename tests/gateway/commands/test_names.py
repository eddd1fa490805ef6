"""Names that cannot be ones, given to every command that takes one: refused in a line, and nothing is changed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from gateway.cli import main

NO_TEXT = os.fsdecode(b"T\xff1")  # as an argument in another encoding than UTF-8 arrives
# Whose names are looked up, and by which words; {} is the name.
TAKERS = [
    "user token {}", "user remove {}", "user add {} --role admin --password-stdin", "user password {} --password-stdin",
    "egress reset {}", "egress reset {} --start now", "calibration show {}", "calibration export {} 1",
    "calibration import {} 1 tank.csv", "terminal add {}", "terminal set {} --name x", "terminal set T1 --name {}",
    "terminal add T1 --model {}", "terminal retire {}", "terminal send {} getver", "terminal send T1 {}",
    "terminal send T1 getver --key {}", "terminal send T1 getver --expires {}",
]  # fmt: skip
TABLES = ("terminal", "app_user", "api_token", "calibration", "egress_cursor", "command")


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def dozor(
    shared_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """A command on that store, in a folder with a table."""
    for name in [name for name in os.environ if name.startswith("DOZOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOZOR_STORE__DSN", shared_dsn)
    monkeypatch.chdir(tmp_path)
    Path("tank.csv").write_text("code,litres\n0,0\n100,50\n", encoding="utf-8")
    Path("password").write_text("a long phrase\n", encoding="utf-8")

    def run(*words: str) -> Said:
        with Path("password").open(encoding="utf-8") as typed, monkeypatch.context() as patch:
            patch.setattr("sys.stdin", typed)
            try:
                code = main(list(words))
            except SystemExit as error:
                code = int(error.code or 0)
        return Said(code, *capsys.readouterr())

    return run


def counts(dsn: str) -> dict[str, list[tuple[str]]]:
    """All that there is, as text."""
    with psycopg.connect(dsn) as link:
        return {
            table: link.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall() for table in TABLES
        }


NAMES = [NO_TEXT, "", "\x1b[2J", "x" * 300]
PAIRS = [
    pytest.param(words, name, id=f"{words}-{ascii(name)[:12]}")
    for words in TAKERS
    for name in NAMES
    # An empty value forgets what was known, and a command to a terminal may be long.
    if not (name == "" and words.endswith((" --name {}", " --model {}")))
    and not (len(name) == 300 and words == "terminal send T1 {}")
]


@pytest.mark.parametrize(("words", "name"), PAIRS)
def test_a_name_that_can_be_none_is_refused_and_nothing_is_changed(
    words: str, name: str, dozor: Callable[..., Said], shared_dsn: str
) -> None:
    with psycopg.connect(shared_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity) VALUES ('T1') ON CONFLICT DO NOTHING")
    before = counts(shared_dsn)
    said = dozor(*(name if word == "{}" else word for word in words.split()))
    assert (said.code, said.out) == (2, "")
    assert said.err.strip()
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err, "what is refused moves no cursor"
    assert counts(shared_dsn) == before


def test_blanks_around_an_identity_are_none_of_it_wherever_it_is_given(
    dozor: Callable[..., Said], shared_dsn: str
) -> None:
    name = uuid.uuid4().hex
    assert dozor("terminal", "add", f" {name}\t", "--name", "Truck").code == 0
    assert dozor("terminal", "set", f"{name} ", "--model", "FMC130").code == 0
    assert dozor("calibration", "import", f" {name}", "1", "tank.csv").code == 0
    assert dozor("calibration", "show", f"{name}  ").out.startswith("sensor 1\t")
    assert dozor("calibration", "export", f"\t{name}", "1").out == "code,litres\n0,0\n100,50\n"
    assert dozor("terminal", "send", f" {name} ", "getver").out.endswith("\tqueued\n")
    assert dozor("terminal", "retire", f" {name}").code == 0
    with psycopg.connect(shared_dsn) as link:
        rows = link.execute(
            "SELECT identity, model, name, stage FROM terminal WHERE identity LIKE %s", (f"%{name}%",)
        ).fetchall()
    assert rows == [(name, "FMC130", "Truck", "sold")]
