"""Mails as programs write them (`raw/`), each beside what must come out; all go through the real judge and tables."""

from __future__ import annotations

import asyncio
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from tests.ticketing.mail import make_raw
from tests.ticketing.mail.world import NOW, world
from ticketing.threads.messages import NewMessage, append, thread

RAW = Path(__file__).parent / "raw"
NAMES = sorted(path.stem for path in RAW.glob("*.eml"))
STATES = {
    "work": "in_work",
    "wait": "waiting_client",
    "consent": "awaiting_consent",
    "closed": "closed",
    "old": "closed",
    "merged": "closed",
    "survivor": "in_work",
}
PLACE = re.compile(rb"\{\{(\w+)\.(\w+)(?:\.(\w+))?\}\}")


@pytest.fixture(scope="module")
def stage(shared_dsn):
    """One world and one event loop for all of them."""
    with asyncio.Runner() as runner:
        entered = world(shared_dsn)
        made = runner.run(entered.__aenter__())
        runner.run(_people(made))
        yield runner, made
        runner.run(entered.__aexit__(None, None, None))


async def _people(w):
    await w.add_organisation("Acme", ("Ann", "ann@acme.example"), ("Bob", "bob@acme.example"))
    await w.add_organisation("Sever", ("Ivan", "ivan@sever.example"), language="ru")
    await w.add_organisation("Orient", ("Chen", "chen@orient.example"), language="zh")


def test_there_are_many() -> None:
    assert len(NAMES) >= 250
    assert {path.stem for path in RAW.glob("*.toml")} == set(NAMES)


def test_they_are_what_the_programs_write() -> None:
    written = make_raw.compose()
    assert set(written) == set(NAMES)
    for name, (raw, expected) in written.items():
        assert (RAW / f"{name}.eml").read_bytes() == raw, name
        assert tomllib.loads((RAW / f"{name}.toml").read_text(encoding="utf-8")) == expected, name


@pytest.mark.parametrize("name", NAMES)
def test_what_must_come_out(stage, name) -> None:
    runner, w = stage
    runner.run(_play(w, name))


async def _play(w, name):
    raw = (RAW / f"{name}.eml").read_bytes()
    expected = tomllib.loads((RAW / f"{name}.toml").read_text(encoding="utf-8"))
    # Far from the others: their subjects are much alike, and would be a loop.
    now = NOW + timedelta(hours=3 * NAMES.index(name))
    await w.execute("UPDATE contact SET bounced = '{}'")
    raw = await _filled(w, raw, name, now)
    row = await w.receive(raw, at=now)
    assert row is not None
    got = await w.verdict(row)
    assert (got["verdict"], got["reason"]) == (expected["verdict"], expected["reason"])
    if "by" in expected:
        assert (got["by"] or "") == expected["by"]
    if expected.get("ticket") or expected["verdict"] in ("appended", "answered", "consented", "disputed", "reopened"):
        ref = expected["ticket"]
        if expected["verdict"] == "followed_up":
            links = await w.execute("SELECT kind FROM ticket_link WHERE parent = %s", w.tickets[ref].id)
            assert links == [("follow-up",)]
            assert got["ticket"] != w.tickets[ref].number
        else:
            assert got["ticket"] == w.tickets[ref].number
        if "state" in expected:
            assert await w.state(ref) == expected["state"]
    if "bounced" in expected:
        rows = await w.execute("SELECT jsonb_object_keys(bounced) FROM contact WHERE bounced <> '{}'")
        assert [address for (address,) in rows] == expected["bounced"]
    ((sender, subject),) = await w.execute("SELECT coalesce(sender, ''), subject FROM inbox WHERE id = %s", row)
    if "sender" in expected:
        assert sender == expected["sender"]
    if "subject" in expected:
        assert subject == expected["subject"]
    await _message(w, row, expected)


async def _message(w, row, expected):
    """What the thread shows."""
    found = await w.execute("SELECT ticket, id FROM ticket_message WHERE inbox = %s", row)
    if not found:
        assert expected["verdict"] in ("held", "dropped", "bounced")
        return
    ((ticket, identity),) = found
    async with w.pool.connection() as connection:
        (message,) = [one for one in await thread(connection, ticket, public_only=False) if one.id == identity]
    assert message.public is (expected["verdict"] not in ("noted", "bounced"))
    if "said" in expected:
        assert message.said == expected["said"]
    if "files" in expected:
        assert [f"{file.name}|{file.type}" for file in message.attachments] == expected["files"]
    elif "left_out" not in expected and expected["verdict"] == "opened" and "file_only" not in expected:
        assert "left_out" not in message.data
    if expected.get("html"):
        assert message.html
        assert "<script" not in message.html
        assert "<img" not in message.html
    if "defects" in expected:
        assert message.data["defects"] == expected["defects"]
    if "left_out" in expected:
        assert len(message.data["left_out"]) == expected["left_out"]
    for hint in expected.get("hints", ()):
        assert hint in message.data


async def _filled(w, raw, name, now):
    """Put numbers and Message-IDs in; their tickets and letters are made for it."""
    w.tickets, w.letters = {}, {}
    reporter, organisation = ("Ann", "Acme")
    if "_ru_" in name:
        reporter, organisation = ("Ivan", "Sever")
    elif "_zh_" in name:
        reporter, organisation = ("Chen", "Orient")
    address = {"Ann": "ann@acme.example", "Ivan": "ivan@sever.example", "Chen": "chen@orient.example"}[reporter]
    wanted = {(found[1].decode(), found[2].decode()) for found in PLACE.finditer(raw)}
    for ref in sorted(
        {ref for ref, _ in wanted} | ({"survivor"} if any(ref == "merged" for ref, _ in wanted) else set())
    ):
        more = {"opened_at": now - timedelta(days=40)}
        if STATES[ref] == "closed":
            more["closed_at"] = now - timedelta(days=30 if ref == "old" else 1)
        await w.add_ticket(ref, reporter=reporter, organisation=organisation, state=STATES[ref], **more)
    if "merged" in w.tickets:
        await w.execute(
            "UPDATE ticket SET merged_into = %s WHERE id = %s", w.tickets["survivor"].id, w.tickets["merged"].id
        )
    values = {}
    for seq, (ref, what) in enumerate(sorted(wanted), 2):
        made = w.tickets[ref]
        if what == "number":
            value = made.number
        elif what == "wrong":
            value = made.number[:-1] + str((int(made.number[-1]) + 1) % 10)
        elif what == "foreign":
            value = f"<foreign.{name}@client.example>"
            async with w.pool.connection() as connection:
                message = NewMessage(
                    ticket=made.id, at=now, direction="in", public=True, author="Ann", text="x", channel="mail",
                    message_id=value,
                )  # fmt: skip
                await append(connection, message)
        else:
            await w.add_letter(f"{name}/{ref}/{what}", ref, what, seq, address=address)
            value = w.letters[f"{name}/{ref}/{what}"]
        values[ref, what] = value
    await w.execute("UPDATE letter SET created_at = %s WHERE key LIKE %s", now, f"{name}/%")

    def fill(found):
        value = values[found[1].decode(), found[2].decode()]
        form = (found[3] or b"").decode()
        if form == "bare":
            value = value.strip("<>")
        elif form == "quoted":
            value = value.replace("<", "=3C").replace(">", "=3E").replace("@", "=40")
        return value.encode()

    return PLACE.sub(fill, raw)
