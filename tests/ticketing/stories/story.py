"""Stories: a requirement as some lines of a script, and what the desk must tell when it is played.

    STORIES = [
        Story(
            "S1-7", "A letter to the support mailbox opens a ticket", "support-procedure",
            [*CLIENT, line("03-02T10:00", "mail", ref="t1", **{"from": ANN}, subject="Dead", text="since Monday")],
            [event("opened", ticket="t1", channel="mail"), event("letter", ticket="t1", kind="ack")],
        ),
    ]

A script's instants are Moscow's (`03-02T10:00` is 2026-03-02T10:00+03:00) unless they say otherwise. `expect` are
events that must come in this order, each with at least these keys; `never` events that must not come at all. Every
letter must be expected: `letters` says how many of which kind are sent (those of `expect` count by themselves). A
requirement that no script can show has a `proof` instead: the test that holds it, `PATH::NAME`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg_pool import AsyncConnectionPool

from ticketing.rehearsal.doing import ACTIONS, do_line
from ticketing.rehearsal.script import Line, read
from ticketing.rehearsal.world import World

ANN, BOB = "ann@acme.example", "bob@acme.example"
STRANGER = "eve@else.example"
TERMINAL = "350000000000001"
Said = dict[str, Any]


def line(at: str, do: str, **said: Any) -> Said:
    """One line of a script; `from_` stands for the key `from`, `class_` for `class`."""
    said = {name: value for name, value in said.items() if value is not None}
    return {"at": instant(at), "do": do, **{name.rstrip("_"): value for name, value in said.items()}}


def instant(at: str) -> str:
    """`03-02T10:00` as an instant of 2026 in Moscow; what has an offset stays."""
    if at[4:5] != "-":
        at = f"2026-{at}"
    return at if at.endswith("Z") or "+" in at[10:] else f"{at}{':00' if at.count(':') == 1 else ''}+03:00"


def event(name: str, **keys: Any) -> Said:
    """An event that must come, with at least these keys."""
    return {"event": name, **{key.rstrip("_"): value for key, value in keys.items()}}


def client(at: str = "01-12T08:00", **contract: Any) -> list[Said]:
    """A client with a duty contact, a vehicle with a terminal, and two engineers and a manager at the desk."""
    return [
        line(at, "user", ref="igor", role="engineer", tier=1),
        line(at, "user", ref="olga", role="engineer", tier=2),
        line(at, "user", ref="max", role="manager"),
        line(at, "organisation", ref="acme", name="Acme", language="en", **contract),
        line(
            at, "contact", ref="ann", organisation="acme", name="Ann", emails=[ANN], phones=["+70000000001"],
            code_word="birch", roles=["duty", "reporter"],
        ),
        line(at, "contact", ref="bob", organisation="acme", name="Bob", emails=[BOB], phones=["+70000000002"]),
        line(at, "vehicle", ref="v1", organisation="acme", plate="A001AA", terminal=TERMINAL),
    ]  # fmt: skip


CLIENT = client()


def phone(at: str, ref: str, **said: Any) -> Said:
    """Ann calls, and says her code word."""
    said = {"channel": "phone", "reporter": "ann", "subject": "No data", "code_word": "birch", **said}
    return line(at, "ticket", ref=ref, **said)


def mail(at: str, ref: str | None = None, **said: Any) -> Said:
    """Ann writes."""
    return line(at, "mail", ref=ref, **{"from_": ANN, "subject": "No data", "text": "it shows nothing", **said})


def breach(ticket: str, clock: str, due: str) -> Said:
    """A promise that breaks one microsecond after its due instant."""
    at = datetime.fromisoformat(instant(due)).astimezone(UTC)
    said = at.isoformat().replace("+00:00", "Z")
    return event("breach", ticket=ticket, clock=clock, at=said.replace("Z", ".000001Z"), due=lambda due: _same(due, at))


def _same(told: str, at: datetime) -> bool:
    return datetime.fromisoformat(told) == at


@dataclass(frozen=True)
class Story:
    """A requirement shown, or several: `id` is a list with spaces.

    `check` looks at all events when those of `expect` and `never` are not enough.
    """

    id: str
    title: str
    policy: str = "integrator-standard"
    lines: Sequence[Said] = ()
    expect: Sequence[Said] = ()
    never: Sequence[Said] = ()
    letters: dict[str, int] = field(default_factory=dict)
    plan: str | None = None
    until: str | None = None
    check: Callable[[list[Said]], None] | None = None
    proof: str = ""
    indicator: str = ""


async def play(pool: AsyncConnectionPool, story: Story) -> list[Said]:
    """All events of a story on an empty store, the summary last."""
    lines: list[Line] = read(story.id, (msgspec.json.encode(each) for each in story.lines), ACTIONS)
    until = None if story.until is None else datetime.fromisoformat(instant(story.until)).astimezone(UTC)
    world = World(pool, policy=story.policy, do=do_line, plan=story.plan)
    try:
        return [*await world.play(lines, until), await world.summary()]
    finally:
        world.close()


class Stage:
    """One store and one loop for all stories: emptied before each, so that the next finds it as new.

    A database of its own for each would spend most of the time on connections that know nothing yet.
    """

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self._pool = AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False)
        self._runner.run(self._pool.open())
        self._empty = self._runner.run(self._statement())

    def play(self, story: Story) -> list[Said]:
        """All events of a story."""
        return self._runner.run(self._play(story))

    def close(self) -> None:
        self._runner.run(self._pool.close())
        self._runner.close()

    async def _play(self, story: Story) -> list[Said]:
        async with self._pool.connection() as connection:
            await connection.execute(self._empty)
        return await play(self._pool, story)

    async def _statement(self) -> bytes:
        """What takes out all rows of the tables that are empty now; triggers and references do not look meanwhile."""
        async with self._pool.connection() as connection:
            rows = await connection.execute(
                "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n"
                " ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
                " AND n.nspname = 'public' ORDER BY 1"
            )
            tables = [name for (name,) in await rows.fetchall()]
            new = []
            for name in tables:
                rows = await connection.execute(f"SELECT EXISTS (SELECT FROM {name})".encode())
                if await rows.fetchone() == (False,):
                    new.append(name)
        return (
            "SET LOCAL session_replication_role = replica;"
            + "".join(f"DELETE FROM {name};" for name in new)
            + "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)"
            " FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
        ).encode()


def problems(story: Story, events: Sequence[Said]) -> list[str]:
    """What the events lack, or have too many of."""
    found = []
    place = 0
    for wanted in story.expect:
        at = next((n for n in range(place, len(events)) if matches(events[n], wanted)), None)
        if at is None:
            found.append(f"after event {place} none is like {wanted}")
        else:
            place = at + 1
    found += [f"must not come: {one}" for one in events for away in story.never if matches(one, away)]
    sent = Counter(one["kind"] for one in events if one.get("event") == "letter")
    owed = Counter(one["kind"] for one in story.expect if one.get("event") == "letter") | Counter(story.letters)
    if sent != owed:
        found.append(f"letters: {dict(sent)}, expected {dict(owed)}")
    return found


def matches(told: Said, wanted: Said) -> bool:
    """Whether an event has all that is wanted of it; a callable is asked."""
    return all(
        name in told and (value(told[name]) if callable(value) else told[name] == value)
        for name, value in wanted.items()
    )
