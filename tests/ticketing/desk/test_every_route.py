"""Every route, tried by each role on its own, on somebody else's and on what does not exist.

`TABLE` is what is expected; a route that it does not know fails. What is not the visitor's is as missing: the same
status, and but for the name that was asked for the same answer. No answer holds a word that is kept from its reader.
What is refused changes nothing. Whose is what stands in `two_clients`.
"""

import asyncio
import base64
import itertools
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from starlette.routing import Mount, Route

from tests.ticketing.desk.parts import PASSWORD, hidden, sign_in, site
from tests.ticketing.desk.two_clients import (
    COMMAND,
    CONTRACT,
    DRAWN,
    HIDDEN,
    LABEL,
    MISSING,
    NOBODYS,
    NOTE,
    OTHERS,
    OWN,
    PLAIN,
    PROFILE,
    SCOPE,
    SECRET,
    SOUTH,
    WHERE,
    away,
    fill,
    fingerprint,
    ready,
    unmarked,
    waits,
)  # fmt: skip
from tests.ticketing.desk_parts import add_terminal, execute
from ticketing.kit.throttle import Throttle

ROLES = ("admin", "manager", "engineer", "auditor", "crew", "client")
NO, GONE = 403, 404
NONE = (NO, NO, NO)


class Way(NamedTuple):
    """What each role gets for its own, another's and a missing one.

    `asks` is put to the address of a list; `blind` are the roles to which another's is as missing in that list.
    """

    by_role: dict
    asks: str = ""
    blind: tuple = ()


def way(*by_role, asks="", blind=()):
    return Way(dict(zip(ROLES, by_role, strict=True)), asks, blind)


def same(code, asks="", blind=()):
    """For everybody, whatever is named."""
    return way(*[(code,) * 3] * 6, asks=asks, blind=blind)


def readers(*codes):
    """Admin, manager, engineer and auditor read."""
    return way(*[codes] * 4, NONE, NONE)


def act(*, ok=200, crew=False, client=False):
    """An action of a ticket: staff's, and of crew and client where they are named; the auditor changes nothing."""
    own = (ok, GONE, GONE)
    return way((ok, ok, GONE), (ok, ok, GONE), own, NONE, own if crew else NONE, own if client else NONE)


def admins(*codes):
    return way(codes, *[NONE] * 5)


READ_ALL = (200, 200, GONE)
READ_OWN = (200, GONE, GONE)
TICKET = way(READ_ALL, READ_ALL, READ_OWN, READ_ALL, READ_OWN, READ_OWN)
FILE = TICKET
TERMINAL = way(*[READ_ALL] * 4, READ_OWN, READ_OWN)
LISTED = way(*[(200,) * 3] * 4, NONE, NONE)
OUTSIDE = ("crew", "client")  # who sees what is theirs of everything
TEAM = ("engineer", *OUTSIDE)  # and of tickets
EDIT = way(READ_ALL, READ_ALL, *[NONE] * 4)
SAVE = way((303, 303, GONE), (303, 303, GONE), *[NONE] * 4)
SAVE_ANY = way((303,) * 3, (303,) * 3, *[NONE] * 4)
LEADS_LIST = way((200,) * 3, (200,) * 3, NONE, (200,) * 3, NONE, NONE)
WITH_CLIENT = {"client": READ_OWN}
CREATE = way((201,) * 3, (201,) * 3, *[NONE] * 4)
SHOWN = way(*[READ_ALL] * 4, READ_OWN, READ_OWN)
CREW = dict.fromkeys(("note", "answer", "task-done"), True)
CLIENT = dict.fromkeys(
    ("note", "answer", "consent", "dispute", "reopen", "withdraw", "permit", "revoke", "entrust"), True
)
ACTIONS = (
    "take", "assign", "escalate", "qualify", "note", "reply", "ask", "answer", "eta", "vendor", "vendor-done", "waive",
    "task-done", "defer", "resume", "visit", "fix", "consent", "dispute", "close", "reopen", "withdraw", "merge",
    "split", "link", "permit", "revoke", "command", "entrust", "read", "helped", "learn",
)  # fmt: skip


def but(found, **by_role):
    return found._replace(by_role={**found.by_role, **by_role})


def acts(prefix, ok):
    found = {
        ("POST", f"{prefix}/tickets/{{number}}/{action}"): act(ok=ok, crew=action in CREW, client=action in CLIENT)
        for action in ACTIONS
    }
    command = ("POST", f"{prefix}/tickets/{{number}}/command")
    return found | {command: but(found[command], manager=NONE)}  # engineer's and admin's


def staff(*codes):
    """Admin, manager and engineer, whatever the ticket's team."""
    return way(*[codes] * 3, *[NONE] * 3)


DAY = datetime.now(UTC).replace(microsecond=0)
SPAN = f"from={DAY - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}&to={DAY + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
READING = "/api/tickets/{number}/secrets/{id}"  # a GET that is written into the journal
LISTENING = "/api/recordings/{id}/listen"  # and so is this one
SHOWS = {  # access data themselves; where a recording is
    ("GET", READING): PLAIN,
    ("POST", "/tickets/{number}/secrets/{id}"): PLAIN,
    ("GET", LISTENING): WHERE,
    ("POST", "/recordings/{id}/listen"): WHERE,
}


TABLE = {
    # Tickets.
    ("GET", "/"): same(303),
    ("GET", "/tickets"): same(200, "terminal={terminal}", TEAM),
    ("GET", "/tickets/{number}"): TICKET,
    ("GET", "/tickets/{number}/attachments/{id}"): FILE,
    **{("GET", f"/tickets/{{number}}/{action}"): same(303) for action in ACTIONS},
    ("GET", "/api/tickets"): same(200, "kind=silence&organisation={id}", TEAM),
    ("POST", "/api/tickets"): way(*[(201, 201, 422)] * 3, NONE, NONE, (201, GONE, GONE)),
    ("GET", "/api/tickets/{number}"): TICKET,
    ("GET", "/api/tickets/{number}/attachments/{id}"): FILE,
    **acts("", 303),
    **acts("/api", 200),
    ("GET", "/search"): same(200, "q={said}", TEAM),
    ("GET", "/api/search"): same(200, "q={said}", TEAM),
    ("GET", "/tickets/new"): way(
        *[READ_ALL] * 3, NONE, NONE, READ_OWN, asks="organisation={id}"
    ),
    ("POST", "/tickets/new"): way(*[(303, 303, GONE)] * 3, NONE, NONE, (303, GONE, GONE)),
    ("GET", "/api/tickets/{number}/secrets"): act(),
    ("POST", "/api/tickets/{number}/secrets"): act(ok=201, client=True),
    ("GET", READING): act(),
    ("POST", "/tickets/{number}/secrets/{id}"): act(),
    ("GET", "/api/reports/repairs"): way(
        *[(200,) * 3] * 4, NONE, (200,) * 3, asks=f"organisation={{id}}&{SPAN}", blind=("engineer", "client")
    ),
    # Outages have no owner: staff and auditors see all, nobody else any.
    ("GET", "/outages"): LISTED,
    ("POST", "/outages"): staff(303, 303, 422),
    ("POST", "/outages/{id}"): staff(303, 303, GONE),
    ("POST", "/outages/{id}/end"): staff(303, 303, GONE),
    ("GET", "/api/outages"): LISTED,
    ("GET", "/api/outages/{id}"): readers(*READ_ALL),
    ("POST", "/api/outages"): staff(201, 201, 422),
    ("PATCH", "/api/outages/{id}"): staff(*READ_ALL),
    ("POST", "/api/outages/{id}/end"): staff(*READ_ALL),
    # Known errors: of clients and crews those that are open to them; the own one is.
    ("GET", "/known-errors"): same(200, "search={known}", OUTSIDE),
    ("POST", "/known-errors"): staff(303, 303, 303),
    ("GET", "/known-errors/{id}"): SHOWN,
    ("POST", "/known-errors/{id}"): staff(303, 303, GONE),
    ("GET", "/api/known-errors"): same(200, "search={known}", OUTSIDE),
    ("GET", "/api/known-errors/{id}"): SHOWN,
    ("POST", "/api/known-errors"): staff(201, 201, 201),
    ("PATCH", "/api/known-errors/{id}"): staff(*READ_ALL),
    ("GET", "/api/reports/knowledge"): way(
        *[(200,) * 3] * 4, NONE, NONE, asks=f"organisation={{id}}&{SPAN}"
    ),
    # Reply templates and reviews are nobody's: no client and no crew sees any.
    ("GET", "/reply-templates"): LISTED,
    ("POST", "/reply-templates"): SAVE_ANY,
    ("GET", "/reply-templates/{id}"): readers(*READ_ALL),
    ("POST", "/reply-templates/{id}"): SAVE,
    ("GET", "/api/reply-templates"): LISTED,
    ("GET", "/api/reply-templates/{id}"): readers(*READ_ALL),
    ("POST", "/api/reply-templates"): CREATE,
    ("PATCH", "/api/reply-templates/{id}"): EDIT,
    ("GET", "/api/tickets/{number}/reply-templates"): but(readers(*READ_ALL), engineer=READ_OWN),
    ("GET", "/reviews"): LEADS_LIST,
    ("POST", "/reviews/{id}"): SAVE,
    ("GET", "/api/reviews"): LEADS_LIST,
    ("GET", "/api/reviews/{id}"): way(READ_ALL, READ_ALL, NONE, READ_ALL, NONE, NONE),
    ("PATCH", "/api/reviews/{id}"): EDIT,
    ("GET", "/api/reports/reviews"): LEADS_LIST,
    # Recordings: a ticket's; heard by auditors and admins.
    ("GET", "/recordings"): LISTED._replace(asks="ticket={number}", blind=("engineer",)),
    ("POST", "/recordings"): way(*[(303, 303, GONE)] * 2, (303, GONE, GONE), *[NONE] * 3),
    ("POST", "/recordings/{id}/listen"): way(READ_ALL, NONE, NONE, READ_ALL, NONE, NONE),
    ("GET", "/api/recordings"): LISTED._replace(asks="ticket={number}", blind=("engineer",)),
    ("POST", "/api/recordings"): way(*[(201, 201, GONE)] * 2, (201, GONE, GONE), *[NONE] * 3),
    ("GET", "/api/recordings/{id}"): but(readers(*READ_ALL), engineer=READ_OWN),
    ("GET", LISTENING): way(READ_ALL, NONE, NONE, READ_ALL, NONE, NONE),
    # Archives that are asked again: a ticket's; asked for by who may send commands.
    ("GET", "/reloads"): way(
        *[(200,) * 3] * 4, NONE, (200,) * 3, asks="ticket={number}", blind=("engineer", "client")
    ),
    ("POST", "/reloads"): way((303, 303, GONE), NONE, (303, GONE, GONE), *[NONE] * 3),
    ("POST", "/reloads/{id}/cancel"): way((303, 303, GONE), NONE, (303, GONE, GONE), *[NONE] * 3),
    ("GET", "/api/reloads"): way(
        *[(200,) * 3] * 4, NONE, (200,) * 3, asks="ticket={number}", blind=("engineer", "client")
    ),
    ("POST", "/api/reloads"): way((201, 201, GONE), NONE, (201, GONE, GONE), *[NONE] * 3),
    ("GET", "/api/reloads/{id}"): way(READ_ALL, READ_ALL, READ_OWN, READ_ALL, NONE, READ_OWN),
    ("POST", "/api/reloads/{id}/cancel"): way((200, 200, GONE), NONE, (200, GONE, GONE), *[NONE] * 3),
    # Mail: 409, since none comes in here.
    ("GET", "/api/mail"): LISTED,
    ("GET", "/api/mail/{id}"): but(readers(*READ_ALL), engineer=READ_OWN),
    ("GET", "/api/mail/{id}/raw"): but(readers(*READ_ALL), engineer=READ_OWN),
    ("GET", "/mail"): LISTED,
    ("GET", "/mail/{id}"): but(readers(*READ_ALL), engineer=READ_OWN),
    **{
        ("POST", f"{prefix}/mail/{{id}}/{deed}"): act(ok=409)
        for prefix in ("", "/api") for deed in ("accept", "dismiss", "again")
    },
    # Terminals.
    ("GET", "/terminals"): same(200, "search={word}", OUTSIDE),
    ("GET", "/terminals/{terminal:path}"): TERMINAL,
    ("POST", "/terminals/{terminal:path}/commands"): way(
        (303, 303, GONE), NONE, (303, 303, GONE), NONE, NONE, NONE
    ),
    ("GET", "/api/terminals"): same(200, "search={word}", OUTSIDE),
    ("GET", "/api/terminals/{terminal:path}"): TERMINAL,
    ("GET", "/api/terminals/{terminal:path}/fuel-events"): TERMINAL,
    ("GET", "/api/terminals/{terminal:path}/commands"): readers(*READ_ALL),
    ("POST", "/api/terminals/{terminal:path}/commands"): way(
        (201, 201, GONE), NONE, (201, 201, GONE), NONE, NONE, NONE
    ),
    ("GET", "/api/terminals/{terminal:path}/commands/{id}"): readers(*READ_ALL),
    ("GET", "/api/positions"): TERMINAL._replace(asks="terminal={terminal}"),
    ("GET", "/api/series"): TERMINAL._replace(asks="measure=speed&terminal={terminal}"),
    ("GET", "/api/connections"): TERMINAL._replace(asks="terminal={terminal}"),
    ("GET", "/api/messages"): TERMINAL._replace(asks="terminal={terminal}"),
    # The watch.
    ("GET", "/incidents"): LISTED,
    ("GET", "/incidents/{id}"): readers(*READ_ALL),
    ("GET", "/api/incidents"): LISTED._replace(asks="terminal={terminal}"),
    ("GET", "/api/incidents/{id}"): readers(*READ_ALL),
    ("GET", "/api/incidents/{id}/explain"): readers(*READ_ALL),
    ("GET", "/quarantine"): LISTED,
    ("GET", "/quarantine/{number}"): readers(*READ_ALL),
    ("GET", "/api/quarantine"): LISTED._replace(asks="terminal={terminal}"),
    ("GET", "/api/quarantine/{number}"): readers(*READ_ALL),
    ("GET", "/bytes"): readers(*READ_ALL)._replace(asks="frame={id}"),
    ("GET", "/api/bytes"): readers(*READ_ALL)._replace(asks="frame={id}"),
    ("GET", "/fleet"): LISTED,
    ("GET", "/api/fleet"): LISTED,
    ("GET", "/api/fleet/health"): LISTED,
    ("GET", "/api/counts"): LISTED,
    # People.
    ("GET", "/organisations"): same(200, "search={word}", OUTSIDE),
    ("POST", "/organisations"): way((303,) * 3, (303,) * 3, *[NONE] * 4),
    ("GET", "/organisations/{id}"): SHOWN,
    ("POST", "/organisations/{id}"): SAVE,
    ("POST", "/organisations/{id}/contacts"): SAVE,
    ("POST", "/organisations/{id}/vehicles"): but(SAVE, client=(303, GONE, GONE)),
    ("GET", "/contacts/{id}"): EDIT,
    ("POST", "/contacts/{id}"): SAVE,
    ("GET", "/vehicles/{id}"): but(EDIT, **WITH_CLIENT),
    ("POST", "/vehicles/{id}"): but(SAVE, client=(303, GONE, GONE)),
    ("GET", "/api/organisations"): same(200, "search={word}", OUTSIDE),
    ("GET", "/api/organisations/{id}"): SHOWN,
    ("POST", "/api/organisations"): CREATE,
    ("PATCH", "/api/organisations/{id}"): EDIT,
    ("GET", "/api/contacts"): same(200, "organisation={id}", OUTSIDE),
    ("GET", "/api/contacts/{id}"): SHOWN,
    ("POST", "/api/contacts"): way((201, 201, 422), (201, 201, 422), *[NONE] * 4),
    ("PATCH", "/api/contacts/{id}"): EDIT,
    ("GET", "/api/vehicles"): same(200, "terminal={terminal}", OUTSIDE),
    ("GET", "/api/vehicles/{id}"): SHOWN,
    ("POST", "/api/vehicles"): way((201, 201, 422), (201, 201, 422), *[NONE] * 3, (201, 422, 422)),
    ("PATCH", "/api/vehicles/{id}"): but(EDIT, **WITH_CLIENT),
    ("GET", "/api/users"): way((200,) * 3, NONE, NONE, (200,) * 3, NONE, NONE),
    ("GET", "/api/users/{name}"): way(READ_ALL, NONE, NONE, READ_ALL, NONE, NONE),
    ("POST", "/api/users"): admins(201, 201, 201),
    ("PATCH", "/api/users/{name}"): admins(200, 200, GONE),
    ("GET", "/settings"): admins(200, 200, 200),
    ("POST", "/settings/users"): admins(303, 303, 303),
    ("GET", "/settings/users/{name}"): admins(200, 200, GONE),
    ("POST", "/settings/users/{name}"): admins(303, 303, GONE),
    ("POST", "/settings/users/{name}/tokens/{id}/revoke"): admins(303, 303, GONE),
    # The own account: what the password is not given to is refused.
    ("GET", "/account"): same(200),
    ("POST", "/account"): same(303),
    ("POST", "/account/password"): same(422),
    ("POST", "/account/totp"): same(422),
    ("POST", "/account/totp/off"): same(422),
    ("POST", "/account/recovery"): same(422),
    ("POST", "/account/tokens"): same(422),
    ("POST", "/account/tokens/{id}/revoke"): same(303),
    # Open: nobody is asked who they are. Who has the letter has its token.
    ("GET", "/login"): same(200),
    ("POST", "/login"): same(403),  # the form's own token is another one
    ("POST", "/logout"): same(303),
    ("GET", "/l/{token}"): way(*[(200, 200, GONE)] * 6),
    ("POST", "/l/{token}"): way(*[(422, 422, GONE)] * 6),  # no button was chosen
    ("GET", "/openapi.json"): same(200),
}  # fmt: skip
OPEN = {"/login", "/openapi.json", "/l/{token}"}
KEPT_FROM = {
    "admin": (PLAIN, WHERE), "manager": (PLAIN, WHERE), "auditor": (PLAIN, WHERE),
    "engineer": (SECRET, PLAIN, DRAWN, WHERE),
    "crew": (SECRET, SOUTH, CONTRACT, PROFILE, COMMAND, "Code word", PLAIN, LABEL, SCOPE, HIDDEN, DRAWN, WHERE),
    "client": (SECRET, SOUTH, NOTE, PROFILE, COMMAND, PLAIN, HIDDEN, DRAWN, WHERE),
}  # fmt: skip
SLOT = re.compile(r"\{([^}]+)\}")
FOOTER = re.compile(r"<footer>.*?</footer>", re.DOTALL)
CSRF = re.compile(r'name="(?:csrf|key)" value="[^"]*"')


def bodies(action, side, spare):
    """What an action needs."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return {
        "assign": {"team": side.team}, "escalate": {"reason": "x", "tier": 2},
        "qualify": {"class": "hardware", "component": "terminal"}, "ask": {"items": ["when?"]},
        "eta": {"eta": tomorrow.isoformat()}, "vendor": {"system": "development"},
        "waive": {"check": "fix", "reason": "x"}, "task-done": {"task": side.rows.get("task", 1), "outcome": "done"},
        "defer": {"code": "no_data", "until": tomorrow.isoformat(), "text": "x", "proof": "asked thrice"},
        "visit": {"reason": "hardware"}, "take": {}, "vendor-done": {}, "resume": {}, "dispute": {}, "close": {},
        "withdraw": {"reason": "withdrawn"}, "merge": {"into": spare},
        "split": {"messages": [side.rows["message"]], "subject": "another"}, "link": {"to": spare, "kind": "parent"},
        "permit": {"by": "x", "means": "phone", "until": tomorrow.isoformat()}, "revoke": {},
        "command": {"text": "getver"},
        **{key: {"known_error": OWN} for key in ("read", "helped")},
        "learn": {"symptom": "it is silent", "cause": "a loose plug"},
        **{key: {"label": "modem", "secret": f"{PLAIN} modem"} for key in ("entrust", "secrets")},
    }.get(action, {"text": "so it is"})  # fmt: skip


def form_of(said):
    return {
        name: [str(one) for one in value] if isinstance(value, list) else str(value) for name, value in said.items()
    }


class Walk:
    """One app, one store, both sides; the answers and what is wrong with them."""

    def __init__(self, desk, both):
        self.desk, self.both = desk, both
        self.tags = itertools.count()

    def name(self, place, path, row=None):
        """What stands for an object in an address: own 0, another's 1, missing 2."""
        side = self.both[min(place, 1)]
        missing = place == 2
        number = NOBODYS if missing else side.tickets["act" if row == "act" else "read"]
        if "quarantine" in path:
            number = (OWN, OTHERS, MISSING)[place]
        return {
            "number": number,
            "id": (OWN, OTHERS, MISSING)[place],
            "terminal": "zzmissing1" if missing else side.terminal,
            "terminal:path": "zzmissing1" if missing else side.terminal,
            "word": "zzmissing" if missing else side.word,
            "said": "zzmissing" if missing else side.said,
            "known": ("north", HIDDEN, "zzmissing")[place],
            "name": "ghost" if missing else side.account,
            "token": "token-of-nobody" if missing else side.token,
        }

    def address(self, method, path, place, asks):
        acted = method == "POST" and "/tickets/{number}/" in path and "/secrets/" not in path
        names = self.name(place, path, "act" if acted else None)
        asked = path + ("?" + asks if asks else "")
        used = {str(names[name]) for name in SLOT.findall(asked)}  # no more: another's other words tell of it
        return SLOT.sub(lambda m: str(names[m[1]]), asked), used

    def said(self, method, path, place):
        """What is sent with it: JSON of the API, fields of a form."""
        side = self.both[min(place, 1)]
        names = self.name(place, path)
        last = path.rpartition("/")[2]
        if "/tickets/{number}/" in path:
            return bodies(last, side, side.tickets["spare"])
        tag = f"t{next(self.tags)}"
        if path.startswith(("/api/terminals", "/terminals")):
            return {"text": "getver", "expires_in": "10m", "key": tag}
        if "/recordings" in path:
            consent = "true" if path == "/recordings" else True
            return {"ticket": names["number"], "link": f"https://recorder.example/{WHERE}/{tag}", "consent": consent}
        if "/reloads" in path:
            begin = DAY - timedelta(days=9 + next(self.tags) % 80)
            span = {"from": begin.isoformat(), "to": (begin + timedelta(minutes=5)).isoformat()}
            if path == "/reloads":
                span = {"since": span["from"], "until": span["to"]}
            return {"ticket": names["number"], "command": "getver", **span}
        if "/outages" in path:
            eta = (datetime.now(UTC) + timedelta(days=1 + next(self.tags))).isoformat()
            if "{id}" in path:
                return {} if last == "end" else {"eta": eta}
            identities = names["terminal"] if path == "/outages" else [names["terminal"]]
            return {"service": f"uplink {tag}", "terminals": identities, "eta": eta}
        if path == "/tickets/new":
            said = {"channel": "phone", "subject": "it is broken", "description": "no data"}
            return said | {"organisation": names["id"]}
        if path == "/api/tickets":
            return {"channel": "api", "subject": "it is broken", "organisation": names["id"]}
        if "/known-errors" in path:
            said = {"symptom": f"{names['known']} symptom"}
            if path == "/known-errors/{id}" and place == 0:  # what a form leaves empty is taken away
                said["public"] = "yes"
            return said | ({} if path.startswith("/api") else {"active": "yes"})
        if "/reply-templates" in path:
            return {"name": f"R {tag}", "language": "en", "text": "of {number}"}
        if "/reviews/" in path:
            criteria = dict.fromkeys(("polite", "clear", "complete", "official"), True)
            return {"criteria": criteria} if path.startswith("/api") else criteria
        resource = path.split("/")[-2 if last.startswith("{") else -1]
        if method == "PATCH":
            return {"teams": [tag]} if resource == "users" else {"active": True}
        if path == "/settings/users/{name}":
            return {"role": "engineer", "active": "yes"}
        found = {
            "organisations": {"name": f"O {tag}", "language": "en"},
            "contacts": {"organisation": names["id"], "name": f"C {tag}"},
            "vehicles": {"organisation": names["id"], "name": f"V {tag}"},
            "users": {"name": f"u{tag}", "role": "auditor", "password": PASSWORD},
        }.get(resource, {})
        if path.startswith("/api"):
            return found
        if "{id}" in path and resource in ("contacts", "vehicles") and not last.startswith("{"):
            found.pop("organisation")
        if resource == "organisations":
            found["contract.consent"] = "explicit"
        if path == "/vehicles/{id}":  # what a form leaves empty is emptied
            found |= {"terminal": side.terminal, "plate": f"{side.word}7"}
        return found | ({"active": "yes"} if found else {})


def writes(method, path):
    return method != "GET" or path in (READING, LISTENING)


def scrubbed(text, names):
    """An answer without what was asked for, and what is another one each time."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "ASKED")
    return CSRF.sub("", FOOTER.sub("", text))


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as found:
        yield found


@pytest.fixture(scope="module")
def walk(shared_dsn, runner):
    hours = itertools.count(step=3600.0)  # passwords that are wrong here are no guesses
    stack = AsyncExitStack()

    async def begin():
        desk = await stack.enter_async_context(site(shared_dsn, throttle=Throttle(lambda: next(hours))))
        return Walk(desk, await fill(desk))

    yield runner.run(begin())
    runner.run(stack.aclose())


def test_the_table_is_all_routes(walk):
    found = set()
    for route in walk.desk.app.routes:
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        assert isinstance(route, Route), route
        found |= {(method, route.path) for method in route.methods - {"HEAD"}}
    assert found == set(TABLE)


@pytest.mark.parametrize("role", ROLES)
def test_each_role(walk, runner, role):
    assert runner.run(_each_route(walk, role)) == []


async def _each_route(walk, role):
    desk, wrong = walk.desk, []
    async with desk.program(role) as program, desk.program(role, "read") as reader, desk.signed_in(role) as browser:
        csrf = hidden((await browser.get("/account")).text)["csrf"]

        async def ask(method, path, place, asks):
            address, names = walk.address(method, path, place, asks)
            if method == "GET":
                client = program if path in (READING, LISTENING) else reader if path.startswith("/api") else browser
                return await client.get(address), names
            said = walk.said(method, path, place)
            if path.startswith("/api"):
                return await program.request(method, address, json=said), names
            return await browser.post(address, data=form_of(said) | {"csrf": csrf}), names

        def judge(method, path, place, answer, names):
            found = TABLE[method, path]
            if answer.status_code != found.by_role[role][place]:
                wrong.append((method, path, place, answer.status_code, found.by_role[role][place], answer.text[:300]))
            if "told=" in answer.headers.get("location", ""):
                wrong.append((method, path, place, "was not done", answer.headers["location"]))
            plain = scrubbed(answer.text, names)
            kept = set() if path in OPEN else {*KEPT_FROM[role], *((walk.both[1].number,) if role in TEAM else ())}
            if (method, path) in SHOWS and found.by_role[role][place] == 200:
                kept -= {SHOWS[method, path]}
                if SHOWS[method, path] not in plain:
                    wrong.append((method, path, place, "does not show what it is for", plain))
            wrong.extend((method, path, place, "tells", word) for word in kept if word in plain)
            return answer.headers.get("content-type"), plain

        refused, allowed = [], []
        for (method, path), found in TABLE.items():
            if path == "/logout":
                continue
            codes = found.by_role[role]
            one = (method, path, found)
            (refused if writes(method, path) and min(codes) >= 400 else allowed).append(one)
        before = await fingerprint(desk.pool)
        for method, path, _ in refused + [one for one in allowed if not writes(*one[:2])]:
            await _three(ask, judge, wrong, role, method, path)
        assert await fingerprint(desk.pool) == before, "what was refused or only read changed something"
        for method, path, _ in allowed:
            if writes(method, path):
                if "/outages/" in path:
                    await away(desk)
                if "/reviews/" in path:
                    await unmarked(desk)
                if "/reloads" in path:
                    await waits(desk)
                if "/tickets/{number}/" in path:
                    await ready(desk, walk.both, path.rpartition("/")[2])
                await _three(ask, judge, wrong, role, method, path)
        async with desk.stranger() as leaving:
            await sign_in(leaving, role)
            own = hidden((await leaving.get("/account")).text)["csrf"]
            assert (await leaving.post("/logout", data={"csrf": own})).status_code == 303
            assert (await leaving.get("/account")).status_code == 303
    return wrong


async def _three(ask, judge, wrong, role, method, path):
    """Own, another's and missing; once where the address names nothing, or leads away whatever it names."""
    found = TABLE[method, path]
    codes = found.by_role[role]
    told = []
    nothing = "{" not in path + found.asks and (method == "GET" or path.startswith("/account"))  # is named
    once = nothing or (method == "GET" and codes == (303,) * 3)
    places = (0,) if once else (0, 2) if codes == NONE else (0, 1, 2)  # no right: whether there is one or not
    for place in places:
        answer, names = await ask(method, path, place, found.asks)
        told.append(judge(method, path, place, answer, names))
    if len(told) < 3:
        return
    if (codes[1] == codes[2] == GONE or role in found.blind) and told[1] != told[2]:
        wrong.append((method, path, "another's is not as missing", told[1], told[2]))


def test_nobody_and_who_may_only_read(walk, runner):
    """Without a session or a token that is good: 401 or the login page. A token that may only read: 403."""

    async def main():
        desk, wrong = walk.desk, []
        expired = await desk.users.token("admin", expires_at=desk.app.state.desk.now() - timedelta(seconds=1))
        sent = ({"Authorization": f"Bearer {expired}"}, {"Cookie": "dozor_session=x"}, {})
        async with desk.stranger() as stranger, desk.program("admin", "read") as reader:
            tried = await fingerprint(desk.pool)  # both tokens are there by now
            for (method, path), found in TABLE.items():
                if path in OPEN:
                    continue
                for place in range(3):
                    address, _ = walk.address(method, path, place, found.asks)
                    headers = sent[place]  # each way of being nobody once a route
                    answer = await stranger.request(method, address, content=b"{", headers=headers)
                    api = path.startswith("/api")
                    if answer.status_code != (401 if api else 303) or (not api and answer.content):
                        wrong.append((method, address, headers, answer.status_code))
                    if writes(method, path):
                        said = {} if method == "GET" else {"json": walk.said(method, path, place)}
                        answer = await reader.request(method, address, **said)
                        told = {READING: ", and a reading is", LISTENING: ", and a listening is"}
                        why = "this token may only read" + told.get(path, "")
                        if answer.status_code != NO or not answer.json()["error"].startswith(why):
                            wrong.append((method, address, "read", answer.status_code))
        assert await fingerprint(desk.pool) == tried
        return wrong

    assert runner.run(main()) == []


def test_no_other_site_sends_a_form(walk, runner):
    """Each POST by cookie without the form's token, with somebody else's, or from elsewhere: 403, nothing done."""

    async def main():
        desk, wrong = walk.desk, []
        async with desk.signed_in("admin") as browser, desk.signed_in("manager") as other:
            theirs = hidden((await other.get("/account")).text)["csrf"]
            await ready(desk, walk.both, "note")
            before = await fingerprint(desk.pool)
            for (method, path), found in TABLE.items():
                if method == "GET" or path in OPEN:
                    continue
                address, _ = walk.address(method, path, 0, found.asks)
                said = walk.said(method, path, 0)
                for fields, headers in (
                    ({}, {}),
                    ({"csrf": theirs}, {}),
                    ({"csrf": ""}, {"Origin": "https://evil.test", "X-CSRF-Token": theirs}),
                ):
                    answer = await browser.request(method, address, data=form_of(said) | fields, headers=headers)
                    if answer.status_code != NO:
                        wrong.append((method, address, fields, answer.status_code))
                if path.startswith("/api"):
                    answer = await browser.request(method, address, json=said, headers={"Origin": "https://evil.test"})
                    if answer.status_code != NO:
                        wrong.append((method, address, "json", answer.status_code))
            assert await fingerprint(desk.pool) == before
        return wrong

    assert runner.run(main()) == []


def test_what_is_of_another_is_not_under_ones_own(walk, runner):
    """An address that names two things: the own one, with what is another's, is as with what does not exist."""

    async def main():
        desk, wrong, tried = walk.desk, [], 0
        async with desk.program("admin") as program, desk.signed_in("admin") as browser:
            csrf = {"csrf": hidden((await browser.get("/account")).text)["csrf"]}
            before = await fingerprint(desk.pool)
            for method, path in TABLE:
                if len(SLOT.findall(path)) < 2:
                    continue
                told, tried = [], tried + 1
                for row in (OTHERS, MISSING):
                    address, _ = walk.address(method, path.replace("{id}", str(row)), 0, "")
                    if path.startswith("/api"):
                        answer = await program.request(method, address)
                    else:
                        answer = await browser.request(method, address, data=csrf if method == "POST" else None)
                    told.append((answer.status_code, scrubbed(answer.text, {str(row)})))
                gone = 303 if path.startswith("/settings") else GONE  # a token that is not there is revoked
                if told[0] != told[1] or told[0][0] != gone:
                    wrong.append((method, path, *told))
            assert await fingerprint(desk.pool) == before
        assert tried > 5
        return wrong

    assert runner.run(main()) == []


async def _alike(wrong, ask, name, others, missing):
    """Another's and a missing one, named in a body, are answered alike."""
    told = []
    for value in (others, missing):
        answer = await ask(value)
        told.append((answer.status_code, scrubbed(answer.text, {str(value)})))
    if told[0] != told[1] or told[0][0] < 400:
        wrong.append((name, *told))


def test_what_a_body_names_is_as_missing(walk, runner):
    async def main():
        desk, (own, others), wrong = walk.desk, walk.both, []
        orphan = "zznobodys"
        await add_terminal(desk.pool, orphan)
        await ready(desk, walk.both, "link")
        before = await fingerprint(desk.pool)
        async with desk.program("client") as client, desk.program("engineer") as engineer:
            before["api_token"] = (await fingerprint(desk.pool))["api_token"]

            def opening(name, **more):
                said = {"channel": "api", "subject": "broken", **more}
                return lambda value: client.post("/api/tickets", json={**said, name: value})

            for name, theirs in (("organisation", OTHERS), ("vehicle", OTHERS), ("reporter", OTHERS)):
                await _alike(wrong, opening(name), name, theirs, MISSING)
                await _alike(wrong, opening(name, organisation=OWN), f"own {name}", theirs, MISSING)
            for identity in (others.terminal, orphan):
                await _alike(wrong, opening("terminal"), identity, identity, "zzmissing1")
            path = f"/api/tickets/{own.tickets['act']}"
            for action, name, more in (("merge", "into", {}), ("link", "to", {"kind": "parent"})):
                await _alike(
                    wrong, lambda value, at=f"{path}/{action}", name=name, more=more: engineer.post(
                        at, json={name: value, **more}
                    ),
                    name, others.tickets["spare"], NOBODYS,
                )  # fmt: skip
            for value in (others.rows["message"], MISSING):
                answer = await engineer.post(f"{path}/split", json={"messages": [value], "subject": "x"})
                assert answer.status_code == 422, answer.text
                assert str(value) not in answer.text
        assert await fingerprint(desk.pool) == before
        return wrong

    assert runner.run(main()) == []


def test_the_links_of_a_ticket_are_as_far_as_one_sees(walk, runner):
    async def main():
        desk, (own, others) = walk.desk, walk.both
        await ready(desk, walk.both, "link")
        path, far = f"/api/tickets/{own.tickets['act']}", others.tickets["spare"]
        async with desk.program("admin") as admin, desk.program("engineer") as engineer:
            await admin.post(f"{path}/link", json={"to": own.tickets["spare"], "kind": "parent"})
            made = await admin.post(f"{path}/link", json={"to": far, "kind": "follow-up"})
            assert {"kind": "follow-up", "number": far} in made.json()["links"]
            assert made.json()["journal"][-1]["text"] == f"follow-up: {far}"
            seen = (await engineer.get(path)).json()
            assert far not in [link["number"] for link in seen["links"]]
            assert own.tickets["spare"] in [link["number"] for link in seen["links"]], "what one sees stays"
            last = seen["journal"][-1]
            assert (last["action"], last["text"], last["data"]) == ("link", "", {})
            assert far not in str(seen)

    runner.run(main())


def test_a_merged_ticket_is_acted_on_by_who_sees_where_it_went(walk, runner):
    async def main():
        desk, (own, others) = walk.desk, walk.both
        await ready(desk, walk.both, "note")
        path = f"/api/tickets/{own.tickets['act']}"
        merge = "UPDATE ticket SET merged_into = %s WHERE id = %s"
        async with desk.program("engineer") as engineer, desk.program("manager") as manager:
            await execute(desk.pool, merge, others.rows["spare"], own.rows["act"])
            before = await fingerprint(desk.pool)
            answer = await engineer.post(f"{path}/note", json={"text": "x"})
            missing = await engineer.post(f"/api/tickets/{NOBODYS}/note", json={"text": "x"})
            assert (answer.status_code, missing.status_code) == (404, 404)
            assert SECRET not in answer.text
            assert (await engineer.get(path)).status_code == 200, "the old number keeps working"
            assert await fingerprint(desk.pool) == before
            assert (await manager.post(f"{path}/note", json={"text": "x"})).json()["number"] == others.tickets["spare"]
            await execute(desk.pool, merge, own.rows["spare"], own.rows["act"])
            assert (await engineer.post(f"{path}/note", json={"text": "x"})).json()["number"] == own.tickets["spare"]
        await execute(desk.pool, merge, None, own.rows["act"])

    runner.run(main())


def test_a_call_about_another_teams_ticket_is_in_it_and_tells_nothing(walk, runner):
    async def main():
        desk, (_, others) = walk.desk, walk.both
        called = {"channel": "api", "subject": "it is silent", "vehicle": OTHERS}
        async with desk.program("engineer") as engineer, desk.program("admin") as admin:
            answer = await engineer.post("/api/tickets", json=called)
            told = answer.json()
            assert (answer.status_code, told["number"]) == (200, others.number)
            assert [message["text"] for message in told["messages"]] == ["it is silent"]
            assert (told["journal"], told["evidence"], told["incidents"], told["links"]) == ([], {}, [], [])
            whole = (await admin.post("/api/tickets", json=called)).json()
            assert [message["text"] for message in whole["messages"]][-2:] == ["it is silent"] * 2
            assert whole["evidence"]["said"] == others.said
        async with desk.signed_in("engineer") as browser:
            typed = hidden((await browser.get(f"/tickets/new?organisation={OTHERS}")).text)
            typed |= {"channel": "paper", "subject": "it is silent", "vehicle": f"{SOUTH}7", "organisation": OTHERS}
            sent = await browser.post("/tickets/new", data=typed)
            assert sent.headers["location"] == f"/tickets/new?opened={others.number}", (
                "not where there is nothing to see"
            )
            page = await browser.get(sent.headers["location"])
            assert (page.status_code, others.number in page.text, SECRET in page.text) == (200, True, False)

    runner.run(main())


def test_a_terminal_that_went_to_another_client(walk, runner):
    """Its evidence is no longer the first one's; its open ticket is not the second one's."""

    async def main():
        desk, (own, others) = walk.desk, walk.both
        move = "UPDATE vehicle SET terminal = %s WHERE id = %s"
        async with desk.program("client") as client, desk.program("manager") as manager:
            assert (await client.get(f"/api/tickets/{own.number}")).json()["evidence"]["said"] == own.said
            await execute(desk.pool, move, None, OTHERS)
            await execute(desk.pool, move, others.rows["terminal"], OWN)
            try:
                seen = (await client.get(f"/api/tickets/{own.number}")).json()
                assert (seen["number"], seen["evidence"]) == (own.number, {})
                assert (await manager.get(f"/api/tickets/{own.number}")).json()["evidence"]["said"] == own.said
                assert (await client.get(f"/api/terminals/{own.terminal}")).status_code == 404
                assert (await client.get(f"/api/terminals/{others.terminal}")).status_code == 200
                await execute(desk.pool, "UPDATE ticket SET state = 'closed', closed_at = now() WHERE id = %s",
                              own.rows["read"])  # fmt: skip
                answer = await client.post(
                    "/api/tickets", json={"channel": "api", "subject": "still silent", "vehicle": OWN}
                )
                assert answer.status_code == 201, "another client's ticket about the same terminal is not joined"
                assert SECRET not in answer.text
                assert others.number not in answer.text
            finally:
                await execute(desk.pool, "UPDATE ticket SET state = 'new', closed_at = NULL WHERE id = %s",
                              own.rows["read"])  # fmt: skip
                await execute(desk.pool, move, own.rows["terminal"], OWN)
                await execute(desk.pool, move, others.rows["terminal"], OTHERS)

    runner.run(main())


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}\r\nSet-Cookie: a=b"


def test_what_a_client_writes_runs_nowhere(walk, runner):
    """Subject, words and the name of a file, on the pages of staff, crew and client and in the file's own headers."""

    async def main():
        desk = walk.desk
        file = {"name": f"{EVIL}.html", "content": base64.b64encode(EVIL.encode()).decode()}
        said = {"channel": "api", "subject": EVIL, "description": EVIL, "steps": EVIL, "attachments": [file]}
        async with desk.program("client") as program:
            made = await program.post("/api/tickets", json=said)
            assert made.status_code == 201, made.text
        number = made.json()["number"]
        (message,) = made.json()["messages"]
        await execute(desk.pool, "INSERT INTO visit_ticket (visit, ticket) SELECT %s, id FROM ticket WHERE number = %s",
                      OWN, number)  # fmt: skip
        for role in ("client", "crew", "engineer"):
            async with desk.signed_in(role) as browser:
                for path in (f"/tickets/{number}", "/tickets", "/search?q=script"):
                    page = await browser.get(path, follow_redirects=True)
                    assert page.status_code == 200, path
                    for sign in ("<script>alert", "<img src=x", "&gt;49", "onerror=alert(2)>"):
                        assert sign not in page.text, (role, path, sign)
                    assert "&lt;script&gt;" in page.text, (role, path)
                answer = await browser.get(f"/tickets/{number}/attachments/{message['attachments'][0]['id']}")
                assert (answer.status_code, answer.content) == (200, EVIL.encode())
                assert "set-cookie" not in answer.headers
                assert answer.headers["content-disposition"].startswith("attachment; ")
                assert "\n" not in answer.headers["content-disposition"]
                assert answer.headers["content-security-policy"].startswith("sandbox;")
                assert answer.headers["content-type"] in ("application/octet-stream", "text/plain; charset=utf-8")

    runner.run(main())
