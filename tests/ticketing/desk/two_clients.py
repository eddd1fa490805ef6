"""One of everything that is the visitors' own, and one that is somebody else's, marked by words that must not be read.

Own are those of the organisation North, of team north, of the visits of the user `crew`. South has the same.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from tests.ticketing.desk.parts import (
    PASSWORD,
    add_connection,
    add_message,
    add_quarantine,
    add_records,
)
from tests.ticketing.desk_parts import add_terminal, execute, fetch, raise_one
from ticketing.core.journal import append_journal
from ticketing.letters.tokens import keep_token
from ticketing.model.states import Action
from ticketing.threads.attachments import Offered
from ticketing.threads.messages import NewMessage, append
from ticketing.tickets.bodies import Body
from ticketing.tickets.facts import Actor

OWN, OTHERS, MISSING = 7_001_001, 7_002_002, 7_009_009  # ids that nothing else looks like
NUMBERED = (
    "organisation", "contact", "vehicle", "incident", "quarantine", "command", "attachment", "ticket_message", "inbox",
    "api_token", "visit", "task", "outage", "ticket_secret", "remote_permission",
    "known_error", "reply_template", "review",
    "reload", "recording",
)  # fmt: skip
NOBODYS = "DZ-900000018"  # a well-formed number that no ticket has

# Words, and from whom each is kept.
SOUTH = "zzsouth"  # another client's name, terminal, vehicle, contact
SECRET = "zzsecret"  # what another team's ticket says
NOTE = "zznote"  # what staff say among themselves in an own ticket
PROFILE, CONTRACT, COMMAND = "zzprofile", "zzcontract", "zzcommand"
WHERE = "zzwhere"  # a recording is: in no answer but that of a listening
PLAIN = "zzplain"  # access data themselves: in no answer but that of their reading
HIDDEN = "zzhidden"  # what is known of faults and not for clients, and replies in ready words
DRAWN = "zzdrawn"  # what was drawn for review
LABEL, SCOPE = "zzlabel", "zzscope"  # what access data are for, and what the client permits


@dataclass
class Side:
    """What one client has; `terminal` and `plate` are names, `tickets` are numbers by what they are for."""

    id: int
    word: str
    said: str
    terminal: str
    team: str
    crew: str
    account: str
    tickets: dict = field(default_factory=dict)
    token: str = ""
    rows: dict = field(default_factory=dict)

    @property
    def number(self):
        return self.tickets["read"]


def sides():
    return (
        Side(OWN, "north", "northern trouble", "north1", "north", "crew", "anna"),
        Side(OTHERS, SOUTH, f"{SECRET} trouble", f"{SOUTH}1", "south", "crew two", "boris"),
    )


async def fill(desk):
    """Both sides, in the store of `desk`; the users of `site` are there."""
    now = datetime.now(UTC)
    both = sides()
    for side in both:
        await desk.users.add(side.account, "engineer", PASSWORD)
        for table in NUMBERED:
            await execute(desk.pool, f"ALTER TABLE {table} ALTER id RESTART WITH {side.id}")
        await _people(desk, side)
        await _terminal(desk, side, now)
        await _tickets(desk, side, now)
        await _letter_and_mail(desk, side, now)
        await _entrusted(desk, side, now)
        await _learned(desk, side)
    for table in NUMBERED:
        await execute(desk.pool, f"ALTER TABLE {table} ALTER id RESTART WITH 8000000")
    own, others = both
    await execute(
        desk.pool,
        "INSERT INTO ticket_link (parent, child, kind) SELECT a.id, b.id, 'parent' FROM ticket a, ticket b"
        " WHERE a.number = %s AND b.number = %s",
        others.number, own.number,
    )  # fmt: skip
    await execute(desk.pool, "UPDATE app_user SET organisations = %s WHERE name = 'client'", [OWN])
    await execute(desk.pool, "UPDATE app_user SET teams = %s WHERE name = 'engineer'", ["north"])
    return both


async def _people(desk, side):
    await execute(
        desk.pool, "INSERT INTO organisation (name, profile, contract, created_at) VALUES (%s, %s, %s, now())",
        f"{side.word} transport", PROFILE, Jsonb({"number": CONTRACT, "consent": "explicit"}),
    )  # fmt: skip
    await execute(
        desk.pool,
        "INSERT INTO contact (organisation, name, emails, phones, created_at) VALUES (%s, %s, %s, %s, now())",
        side.id, f"{side.word} contact", [f"{side.word}@example.org"], [f"+7000{side.id}"],
    )  # fmt: skip
    await desk.users.token(side.account)


async def _terminal(desk, side, now):
    row = await add_terminal(
        desk.pool, side.terminal, protocol="teltonika", model="FMB920", name=f"{side.word} truck", customer=side.word
    )
    side.rows["terminal"] = row
    await add_records(desk.pool, row, 5, end=now - timedelta(minutes=9))
    await add_connection(desk.pool, side.terminal, now - timedelta(microseconds=side.id))
    await add_quarantine(desk.pool, side.terminal, bytes(30))
    await add_message(desk.pool, side.terminal, f"{side.word} driver")
    await execute(
        desk.pool, "INSERT INTO command (terminal, protocol, text, repeat, created_by, expires_at) VALUES"
        " (%s, 'teltonika', %s, false, 'anna', now() + interval '1 day')", row, f"{COMMAND} {side.word}",
    )  # fmt: skip
    await execute(
        desk.pool, "INSERT INTO vehicle (organisation, name, plate, plate_key, terminal, created_at)"
        " VALUES (%s, %s, %s, %s, %s, now())",
        side.id, f"{side.word} truck", f"{side.word}7", f"{side.word}7".upper(), row,
    )  # fmt: skip
    await execute(desk.pool, "INSERT INTO visit (vehicle, crew, created_at) VALUES (%s, %s, now())", side.id, side.crew)


async def _tickets(desk, side, now):
    raised = await raise_one(desk.pool, side.rows["terminal"], now.timestamp() - 300, reason=f"{side.said}: silent")
    side.tickets["read"] = raised.number
    for use in ("act", "spare"):
        side.tickets[use] = f"DZ-{side.id}{len(use)}"
        await execute(
            desk.pool, "INSERT INTO ticket (number, kind, channel, state, title, zone, priority, opened_at, policy)"
            " VALUES (%s, 'request', 'mail', 'in_work', %s, 'unknown', 2, now(), 'integrator-standard')",
            side.tickets[use], side.said,
        )  # fmt: skip
    await execute(
        desk.pool, "UPDATE ticket SET organisation = %s, vehicle = %s, team = %s, title = %s, owner = %s,"
        " evidence = evidence || %s WHERE number = ANY(%s)",
        side.id, side.id, side.team, side.said, side.account, Jsonb({"said": side.said}), list(side.tickets.values()),
    )  # fmt: skip
    await execute(
        desk.pool, "INSERT INTO visit_ticket (visit, ticket) SELECT %s, id FROM ticket WHERE number = ANY(%s)",
        side.id, list(side.tickets.values()),
    )  # fmt: skip
    for use, number in side.tickets.items():
        ((side.rows[use],),) = await fetch(desk.pool, "SELECT id FROM ticket WHERE number = %s", number)
    async with desk.pool.connection() as connection:
        for public, text in ((True, side.said), (False, f"{NOTE} {side.said}")):
            await append(
                connection,
                NewMessage(
                    ticket=side.rows["read"], at=now, direction="in" if public else "note", public=public,
                    author=f"{side.word} contact" if public else "anna", subject=side.said, text=text, channel="mail",
                    files=[Offered(f"{text}.txt", text.encode())],
                ),
            )  # fmt: skip
        await append(
            connection,
            NewMessage(ticket=side.rows["act"], at=now, direction="in", public=True, author="x", text=side.said,
                       channel="mail"),
        )  # fmt: skip
    ((side.rows["message"],),) = await fetch(
        desk.pool, "SELECT id FROM ticket_message WHERE ticket = %s", side.rows["act"]
    )


async def _letter_and_mail(desk, side, now):
    await execute(
        desk.pool, "INSERT INTO inbox (message_id, sha256, source, raw, received_at, verdict, ticket, subject, sender)"
        " VALUES (%s, sha256(%s), 'box', %s, %s, 'append', %s, %s, %s)",
        f"<{side.word}@x>", side.word.encode(), f"Subject: {side.said}\r\n\r\n{side.said}".encode(), now,
        side.rows["read"], side.said, f"{side.word}@example.org",
    )  # fmt: skip
    ((letter,),) = await fetch(
        desk.pool, "INSERT INTO letter (key, ticket, kind, n, contact, address, language, subject, auto, state,"
        " created_at, not_before) VALUES (%s, %s, 'recovered', 1, %s, %s, 'en', %s, true, 'sent', now(), now())"
        " RETURNING id", side.word, side.rows["read"], side.id, f"{side.word}@example.org", side.said,
    )  # fmt: skip
    side.token = f"token-{side.id}"
    async with desk.pool.connection() as connection:
        await keep_token(connection, side.token, letter, now)


async def _entrusted(desk, side, now):
    """Access data and a permission, as staff enters them; a repair that was proven; an outage of the terminal."""
    staff, number = Actor("admin", "admin"), side.number
    said = {"label": f"{LABEL} {side.said}", "secret": f"{PLAIN} {side.said}"}
    await desk.tickets.act(Action.ENTRUST, number, staff, Body(**said))
    until = now + timedelta(days=9)
    given = {"by": f"{side.word} contact", "means": "phone", "until": until, "text": f"{SCOPE} {side.said}"}
    await desk.tickets.act(Action.PERMIT, number, staff, Body(**given))
    async with desk.pool.connection() as connection:
        events = {"events": ["fault-fixed"]}
        await append_journal(connection, side.rows["read"], now, "watch", "recovered", "", "new", events)
        sent = f"{COMMAND} {side.said}"
        await append_journal(connection, side.rows["read"], now, "anna", "command", sent, "new", {"command": side.id})
    await execute(desk.pool, "UPDATE command SET ticket = %s WHERE id = %s", side.rows["read"], side.id)
    await _recorded(desk, side, now)
    await execute(
        desk.pool, "INSERT INTO outage (key, started_at, terminals, data) VALUES (%s, now(), %s, %s)",
        f"declared/{side.word} uplink", [side.rows["terminal"]], Jsonb({"by": side.account}),
    )  # fmt: skip


async def _learned(desk, side):
    """A known error, the own one for clients too; a reply template; a message that was drawn for review."""
    own = side.id == OWN
    await execute(
        desk.pool, "INSERT INTO known_error (symptom, public, ticket, created_by, created_at)"
        " VALUES (%s, %s, %s, 'admin', now())",
        f"{side.word} symptom" if own else f"{HIDDEN} symptom", own, side.rows["read"],
    )  # fmt: skip
    await execute(
        desk.pool, "INSERT INTO reply_template (name, language, text, created_by, created_at)"
        " VALUES (%s, 'en', %s, 'admin', now())", f"{HIDDEN} {side.id}", f"{HIDDEN} {{number}}",
    )  # fmt: skip
    await execute(
        desk.pool, "INSERT INTO review_month (month, drawn_at) VALUES ('2026-03', now()) ON CONFLICT DO NOTHING"
    )
    await execute(desk.pool, "INSERT INTO review_share VALUES ('2026-03', %s, 1, 1)", f"{DRAWN} {side.account}")
    await execute(
        desk.pool, "INSERT INTO review (month, engineer, message) VALUES ('2026-03', %s, %s)",
        f"{DRAWN} {side.account}", side.rows["message"],
    )  # fmt: skip


async def unmarked(desk):
    """The reviews are to be done: each can be marked once."""
    await execute(desk.pool, "UPDATE review SET marked_at = NULL, passed = NULL, criteria = '{}'")


async def _recorded(desk, side, now):
    """A call's recording, and an archive that is asked again in the maker's own words."""
    await execute(
        desk.pool, "INSERT INTO recording (ticket, link, consent, called_at, until, created_at, created_by)"
        " VALUES (%s, %s, true, %s, %s, %s, %s)",
        side.rows["read"], f"https://recorder.example/{WHERE}/{side.word}", now, now + timedelta(days=9), now,
        side.account,
    )  # fmt: skip
    await execute(
        desk.pool, "INSERT INTO reload (ticket, terminal, since, until, text, asked_at, asked_by, not_before)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        side.rows["read"], side.rows["terminal"], now - timedelta(days=99), now - timedelta(days=98),
        f"{COMMAND} {side.word}", now, side.account, now,
    )  # fmt: skip


async def waits(desk):
    """The archives that are asked again wait: each can be called off once, and asked for once."""
    await execute(desk.pool, "DELETE FROM reload WHERE id NOT IN (%s, %s)", OWN, OTHERS)
    await execute(
        desk.pool, "UPDATE reload SET state = 'queued', finished_at = NULL, tried_at = NULL WHERE id IN (%s, %s)",
        OWN, OTHERS,
    )  # fmt: skip


STATES = {
    "answer": "waiting_client", "vendor-done": "waiting_vendor", "resume": "deferred", "consent": "awaiting_consent",
    "dispute": "awaiting_consent", "close": "awaiting_consent", "reopen": "closed", "take": "new",
    "learn": "closed",
}  # fmt: skip


async def ready(desk, both, action):
    """The tickets that are acted upon, as the action needs them: each can be acted upon once."""
    state = STATES.get(action, "in_work")
    for side in both:
        await execute(
            desk.pool, "UPDATE ticket SET state = %s, qualified = true, class = 'hardware', team = %s, owner = 'anna',"
            " closed_at = CASE WHEN %s = 'closed' THEN now() END, merged_into = NULL, ended = NULL,"
            " consent_at = CASE WHEN %s THEN now() END, tier = 1, vendor = NULL, deferral = NULL WHERE id = %s",
            state, side.team, state, action == "close", side.rows["act"],
        )  # fmt: skip
        await execute(
            desk.pool, "INSERT INTO precheck (ticket, name, result, at) VALUES (%s, 'fix', %s, now())"
            " ON CONFLICT (ticket, name) DO UPDATE SET result = excluded.result",
            side.rows["act"], "red" if action == "waive" else "green",
        )  # fmt: skip
        if action == "learn":  # a ticket becomes one known error
            await execute(desk.pool, "UPDATE known_error SET ticket = NULL WHERE ticket = %s", side.rows["act"])
        if action == "revoke":
            await execute(
                desk.pool, "INSERT INTO remote_permission (ticket, given_by, means, at, until, written_by)"
                " VALUES (%s, 'x', 'phone', now(), now() + interval '1 day', 'anna')", side.rows["act"],
            )  # fmt: skip
        if action == "task-done":
            ((side.rows["task"],),) = await fetch(
                desk.pool, "INSERT INTO task (ticket, key, kind, created_at) VALUES (%s, gen_random_uuid(), 'call',"
                " now()) RETURNING id", side.rows["act"],
            )  # fmt: skip


async def away(desk):
    """The outages are not over: each can be ended once."""
    await execute(desk.pool, "UPDATE outage SET ended_at = NULL WHERE id = ANY(%s)", [OWN, OTHERS])


KEPT = (
    "ticket", "journal", "ticket_message", "ticket_link", "organisation", "contact", "vehicle", "app_user", "api_token",
    "command", "task", "precheck", "inbox", "letter", "letter_token", "incident", "visit",
    "outage", "ticket_secret", "remote_permission", "known_error", "suggestion", "reply_template", "review", "reload",
    "recording",
)  # fmt: skip


async def fingerprint(pool):
    """Of all that may not change; that a token was used is written whatever it is used for."""
    found = {}
    for table in KEPT:
        row = "to_jsonb(t) - 'used_at'" if table == "api_token" else "t"
        ((found[table],),) = await fetch(
            pool,
            f"SELECT md5(coalesce(string_agg(md5(({row})::text), '' ORDER BY md5(({row})::text)), '')) FROM {table} t",
        )
    return found
