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

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

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
    return {"at": instant(at), "do": do, **{name.rstrip("_"): value for name, value in said.items()}}


def instant(at: str) -> str:
    """`03-02T10:00` as an instant of 2026 in Moscow; what has an offset stays."""
    if at[4:5] != "-":
        at = f"2026-{at}"
    return at if at.endswith("Z") or "+" in at[10:] else f"{at}{':00' if at.count(':') == 1 else ''}+03:00"


def event(name: str, **keys: Any) -> Said:
    """An event that must come, with at least these keys."""
    return {"event": name, **{key.rstrip("_"): value for key, value in keys.items()}}


def client(**contract: Any) -> list[Said]:
    """A client with a duty contact, a vehicle with a terminal, and two engineers and a manager at the desk."""
    at = "01-12T08:00"
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


@dataclass(frozen=True)
class Story:
    """One requirement shown. `check` looks at all events when those of `expect` and `never` are not enough."""

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


async def play(dsn: str, story: Story) -> list[Said]:
    """All events of a story, the summary last."""
    import msgspec

    lines: list[Line] = read(story.id, (msgspec.json.encode(each) for each in story.lines), ACTIONS)
    until = None if story.until is None else datetime.fromisoformat(instant(story.until)).astimezone(UTC)
    async with AsyncConnectionPool(dsn, min_size=1, max_size=4, open=False) as pool:
        world = World(pool, policy=story.policy, do=do_line, plan=story.plan)
        try:
            return [*await world.play(lines, until), await world.summary()]
        finally:
            world.close()


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
