"""The registry by any sequence of imports, additions and changes: what is listed is what was said, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.commands.fleet_csv import FIELDS, STAGES, moment, problems
from gateway.commands.instants import day_or_instant

Row = dict[str, str | None]
TEXTS = [name for name in FIELDS if not name.startswith("stage") and name != "protocol"]
INSTANTS = {  # as people write them: as the store spells them
    "2099-01-31": "2099-01-31T00:00:00Z",
    "2099-01-31T03:00+03:00": "2099-01-31T00:00:00Z",
    "20990201T120000Z": "2099-02-01T12:00:00Z",
    "0099-12-31": "0099-12-31T00:00:00Z",
}


class World:
    """The commands on one store, without the fixtures of a test, since there are many examples in one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(list(words))
            except SystemExit as error:
                code = int(error.code or 0)
        return code, out.getvalue(), err.getvalue()

    def imported(self, rows: list[Row], columns: list[str], *more: str) -> str:
        """What an import of these rows says."""
        file = self.folder / "fleet.csv"
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["terminal", *columns])
            writer.writerows([row["terminal"], *(row.get(name) or "" for name in columns)] for row in rows)
        code, out, err = self.run("terminal", "import", str(file), *more)
        assert code == 0, err
        return out.strip()

    def listed(self, prefix: str) -> dict[str, Row]:
        _, out, _ = self.run("terminal", "list", "--json")
        rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
        return {
            row["terminal"].removeprefix(prefix): {name: row[name] for name in FIELDS}
            for row in rows
            if row["terminal"].startswith(prefix)
        }


@pytest.fixture(scope="module")
def world(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DOZOR_")]:
            patch.delenv(name)
        patch.setenv("DOZOR_STORE__DSN", shared_dsn)
        folder = tmp_path_factory.mktemp("registry")
        patch.chdir(folder)
        yield World(folder)


def told(known: Row, row: Row) -> Row:
    """What is known of a terminal behind what is said of it: None says nothing, "" forgets."""
    after = dict(known)
    for name in FIELDS:
        if (value := row.get(name)) is not None:
            after[name] = value or None
    if row.get("stage") is not None or row.get("stage_until") is not None:
        after["stage_until"] = INSTANTS.get(row.get("stage_until") or "")
    after["stage"] = after["stage"] or "in_use"
    return after


UNKNOWN: Row = {**dict.fromkeys(FIELDS), "stage": "in_use"}
plain = st.sampled_from(["a", "Б 12", "x;y", 'in "quotes"', "0"])
stages = st.one_of(
    st.just({}),
    st.sampled_from(STAGES).map(lambda stage: {"stage": stage}),
    st.tuples(st.sampled_from(STAGES[1:]), st.sampled_from(sorted(INSTANTS))).map(
        lambda both: {"stage": both[0], "stage_until": both[1]}
    ),
)
rows = st.builds(
    lambda terminal, texts, protocol, stage: {"terminal": terminal, **texts, **protocol, **stage},
    st.sampled_from(["1", "2", "3"]),
    st.dictionaries(st.sampled_from(TEXTS), plain, max_size=3),
    st.sampled_from([{}, {"protocol": "omnicomm"}, {"protocol": "teltonika"}]),
    stages,
)
fleets = st.lists(rows, min_size=1, max_size=3, unique_by=lambda row: row["terminal"]).map(lambda f: ("import", f))
ones = st.tuples(st.sampled_from(["add", "set"]), rows.map(lambda row: [row]))
forgets = st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from([*TEXTS, "protocol", "stage"])).map(
    lambda both: ("set", [{"terminal": both[0], both[1]: ""}])
)
LIMITS = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@LIMITS
@given(st.lists(fleets | ones | forgets, min_size=2, max_size=5))
def test_what_is_listed_is_what_was_said(world: World, steps: list[tuple[str, list[Row]]]) -> None:
    prefix = f"{uuid.uuid4().hex}-"
    model: dict[str, Row] = {}
    for how, said in steps:
        before = {key: dict(row) for key, row in model.items()}
        known = [row for row in said if how != "set" or row["terminal"] in model]
        for row in known:
            model[str(row["terminal"])] = told(model.get(str(row["terminal"]), UNKNOWN), row)
        named = [{**row, "terminal": f"{prefix}{row['terminal']}"} for row in said]
        if how == "import":
            columns = sorted({name for row in said for name in row} - {"terminal"})
            changed = sum(before.get(str(row["terminal"]), model[str(row["terminal"])]) != model[str(row["terminal"])]
                          for row in said)  # fmt: skip
            new = sum(str(row["terminal"]) not in before for row in said)
            answer = f"{new} new, {changed} changed, {len(said) - new - changed} as before"
            assert world.imported(named, columns, "--dry-run") == f"{answer}: nothing was written"
            assert world.listed(prefix) == before
            assert world.imported(named, columns) == answer
            assert world.imported(named, columns) == f"0 new, 0 changed, {len(said)} as before"
        else:
            (row,) = named
            options = [f"--{name.replace('_', '-')}={value}" for name, value in row.items() if name != "terminal"]
            code, _, err = world.run("terminal", how, str(row["terminal"]), *options)
            assert (code, "is not registered" in err) == ((0, False) if known else (2, True)), err
        assert world.listed(prefix) == model, (how, said)


def test_a_stage_that_is_imported_again_without_its_end_has_none(world: World) -> None:
    name = uuid.uuid4().hex
    first: Row = {"terminal": name, "stage": "workshop", "stage_until": "2099-01-31"}
    assert world.imported([first], ["stage", "stage_until"]) == "1 new, 0 changed, 0 as before"
    again: Row = {"terminal": name, "stage": "workshop"}
    assert world.imported([again], ["stage"]) == "0 new, 1 changed, 0 as before"
    assert world.listed(name)[""]["stage_until"] is None


@pytest.mark.parametrize("text", ["2099-01-31 10:00", "2099-01-31T10:00", "20990131T10", "10:00", "2099-13-01", "soon"])
def test_a_time_of_which_nobody_knows_whose_it_is_ends_no_stage(world: World, text: str) -> None:
    name = uuid.uuid4().hex
    code, _, err = world.run("terminal", "add", name, "--stage", "season", "--stage-until", text)
    assert code == 2
    assert f"stage_until {text!r}: a day such as 2026-12-31, or an instant with its offset" in err
    assert world.listed(name) == {}


# -- instants


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones | st.just(UTC)), st.sampled_from(["T", " ", "t"]))
def test_an_instant_with_its_offset_is_that_instant(at: datetime, between: str) -> None:
    try:
        wanted = at.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError, match="out of range"):
            day_or_instant(at.isoformat(between))
        return
    assert day_or_instant(at.isoformat(between)) == wanted
    spelt = moment(at.isoformat(between))
    assert spelt is not None
    assert datetime.fromisoformat(spelt) == wanted.replace(microsecond=0)
    assert len(spelt) == len("2026-12-31T00:00:00Z"), "the store reads a year by its four digits"
    assert moment(spelt) == spelt


@given(st.datetimes(), st.sampled_from(["T", " "]))
def test_a_time_without_an_offset_is_none(at: datetime, between: str) -> None:
    with pytest.raises(ValueError, match="offset"):
        day_or_instant(at.isoformat(between))


@given(st.dates())
def test_a_day_begins_at_midnight_utc(day: Any) -> None:
    assert moment(day.isoformat()) == f"{day.isoformat()}T00:00:00Z"


def test_the_store_reads_back_every_year_that_it_may_be_given(shared_dsn: str) -> None:
    spelt = [moment(f"{year:04}-06-30") for year in (1, 99, 999, 1000, 2026, 9999)]
    with psycopg.connect(shared_dsn) as link:
        rows = link.execute(
            "SELECT to_char(t::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
            " FROM unnest(%s::text[]) t",
            (spelt,),
        ).fetchall()
    assert [row[0] for row in rows] == spelt


# -- one terminal's line


@given(st.fixed_dictionaries({name: st.none() | st.text(max_size=6) for name in ("terminal", *FIELDS)}))
def test_any_line_is_taken_whole_or_refused_by_its_names(row: Row) -> None:
    found = list(problems(row))
    for what in found:
        assert what.split(":")[0].split()[0] in row, what
    if not found:
        assert row["terminal"]
        assert all((row[name] or "").isprintable() for name in FIELDS)
        assert row["stage"] in (None, "", *STAGES)
