"""The rule of sight: its conditions and its checks of single objects say the same, and what each role sees."""

import random
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from ticketing.people.scope import Facts, Kind, condition, hidden, sees, shown
from ticketing.people.users import ROLES, User

NOW = datetime(2026, 11, 16, 10, tzinfo=UTC)
ORGANISATIONS = (1, 2, 3, 4, 5, 6)
# Names that a statement must not read as anything else.
TEAMS = ("north", "50% %s", "o'brien", "", "{}", "\\", "Юг")
NAMES = ("anna", "boris %(x)s", "o'brien", "王")
TABLES = {
    Kind.TICKET: "ticket",
    Kind.EVIDENCE: "ticket",
    Kind.MESSAGE: "ticket_message",
    Kind.VEHICLE: "vehicle",
    Kind.TERMINAL: "terminal",
    Kind.ORGANISATION: "organisation",
    Kind.CONTACT: "contact",
    Kind.VISIT: "visit",
    Kind.USER: "app_user",
    Kind.KNOWN_ERROR: "known_error",
    Kind.REPLY_TEMPLATE: "reply_template",
}
USERS = st.builds(
    User,
    id=st.integers(1, len(NAMES)),
    name=st.sampled_from(NAMES),
    role=st.sampled_from(ROLES),
    organisations=st.lists(st.sampled_from((*ORGANISATIONS, 99)), unique=True).map(tuple),
    teams=st.lists(st.sampled_from(TEAMS), unique=True).map(tuple),
)


class World:
    """A store with some of everything, and the facts of each object by kind and id."""

    def __init__(self, dsn):
        self.link = psycopg.connect(dsn, autocommit=True)
        self.facts = {kind: {} for kind in Kind}
        dice = random.Random(7)
        for organisation in ORGANISATIONS:
            self.add("organisation", id=organisation, name=f"O{organisation}", created_at=NOW)
            contact = self.add("contact", organisation=organisation, name="C", created_at=NOW)
            self.facts[Kind.CONTACT][contact] = organisation
        for name in NAMES:
            user = self.add("app_user", name=name, role="admin", password="x", created_at=NOW)
            self.facts[Kind.USER][user] = Facts(user=user)
        for n in range(4):
            public, active = n % 2 == 0, n < 2
            row = self.add("known_error", symptom="x", public=public, active=active, created_by="x", created_at=NOW)
            self.facts[Kind.KNOWN_ERROR][row] = Facts(public=public and active)
        row = self.add("reply_template", name="x", language="en", text="x", created_by="x", created_at=NOW)
        self.facts[Kind.REPLY_TEMPLATE][row] = Facts()
        vehicles, belongs = [], {}
        for n in range(16):
            terminal = self.add("terminal", identity=f"T{n}")
            belongs[terminal] = None
            organisation = dice.choice(ORGANISATIONS)
            bound = terminal if n % 4 else None
            vehicle = self.add("vehicle", organisation=organisation, terminal=bound, created_at=NOW)
            vehicles.append((vehicle, organisation, bound))
            if bound:
                belongs[terminal] = organisation
        crews = {}  # by (table, id)
        tickets = []
        for n in range(40):
            organisation = dice.choice((*ORGANISATIONS, None))
            team, owner = dice.choice((None, *TEAMS)), dice.choice((None, *NAMES))
            terminal = dice.choice((None, *belongs))
            ticket = self.add(
                "ticket", number=f"DZ-{n}", kind="x", state="new", title="x", zone="x", priority=1, opened_at=NOW,
                policy="x", organisation=organisation, team=team, owner=owner, terminal=terminal,
            )  # fmt: skip
            tickets.append((ticket, organisation, team, owner, belongs.get(terminal)))
        for n in range(24):
            crew, state = dice.choice((*TEAMS, *NAMES)), ("planned", "done", "cancelled")[n % 3]
            vehicle, organisation, terminal = dice.choice((*vehicles, (None, None, None)))
            visit = self.add("visit", vehicle=vehicle, crew=crew, state=state, created_at=NOW)
            self.facts[Kind.VISIT][visit] = Facts(organisation=organisation, crews=[crew])
            ticket = dice.choice(tickets)[0]
            self.add("visit_ticket", visit=visit, ticket=ticket)
            if state != "cancelled":
                for needed in (
                    (Kind.VEHICLE, vehicle), (Kind.TERMINAL, terminal), (Kind.ORGANISATION, organisation),
                    (Kind.TICKET, ticket),
                ):  # fmt: skip
                    crews.setdefault(needed, set()).add(crew)
        for vehicle, organisation, _ in vehicles:
            self.facts[Kind.VEHICLE][vehicle] = Facts(organisation, crews=crews.get((Kind.VEHICLE, vehicle), ()))
        for terminal, organisation in belongs.items():
            self.facts[Kind.TERMINAL][terminal] = Facts(organisation, crews=crews.get((Kind.TERMINAL, terminal), ()))
        for organisation in ORGANISATIONS:
            facts = Facts(organisation, crews=crews.get((Kind.ORGANISATION, organisation), ()))
            self.facts[Kind.ORGANISATION][organisation] = facts
        self.facts[Kind.CONTACT] = {
            contact: self.facts[Kind.ORGANISATION][organisation]
            for contact, organisation in self.facts[Kind.CONTACT].items()
        }
        for ticket, organisation, team, owner, terminal_organisation in tickets:
            facts = Facts(organisation, team, owner, crews.get((Kind.TICKET, ticket), ()))
            self.facts[Kind.TICKET][ticket] = facts
            self.facts[Kind.EVIDENCE][ticket] = facts._replace(terminal_organisation=terminal_organisation)
            for public in (True, False):
                message = self.add(
                    "ticket_message", ticket=ticket, at=NOW, direction="in", public=public, author="x", text="x",
                    channel="mail",
                )  # fmt: skip
                self.facts[Kind.MESSAGE][message] = facts._replace(public=public)

    def add(self, table, **columns):
        statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) RETURNING {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            sql.Identifier("visit" if table == "visit_ticket" else "id"),
        )
        return self.link.execute(statement, list(columns.values())).fetchone()[0]

    def listed(self, user, kind):
        """Ids as a statement with a placeholder of its own finds them."""
        statement = sql.SQL("SELECT x.id FROM {} x WHERE {} AND x.id > %s").format(
            sql.Identifier(TABLES[kind]), condition(user, kind, "x")
        )
        return {row[0] for row in self.link.execute(statement, [0])}

    def seen(self, user, kind):
        return {number for number, facts in self.facts[kind].items() if sees(user, kind, facts)}


@pytest.fixture(scope="module")
def world(shared_dsn):
    found = World(shared_dsn)
    yield found
    found.link.close()


@settings(max_examples=150, deadline=None)
@given(user=USERS)
def test_what_is_listed_is_what_is_seen(world, user):
    for kind in Kind:
        assert world.listed(user, kind) == world.seen(user, kind), kind


@pytest.mark.parametrize("role", ROLES)
def test_nobody_sees_more_than_the_roles_say(world, role):
    user = User(1, "anna", role, organisations=(1,), teams=("north",))
    everything = {kind: set(world.facts[kind]) for kind in Kind}
    seen = {kind: world.listed(user, kind) for kind in Kind}
    if role in ("admin", "auditor"):
        assert seen == everything
        return
    assert seen[Kind.USER] == {1}
    if role == "manager":
        assert seen == everything | {Kind.USER: {1}}
        return
    for ticket in seen[Kind.TICKET]:
        facts = world.facts[Kind.TICKET][ticket]
        assert {
            "engineer": facts.team in (None, "north") or facts.owner == "anna",
            "client": facts.organisation == 1,
            "crew": bool({"anna", "north"} & set(facts.crews)),
        }[role]
    assert seen[Kind.TICKET] < everything[Kind.TICKET]
    if role == "engineer":
        assert {kind for kind in Kind if seen[kind] == everything[kind]} == {
            Kind.VEHICLE, Kind.TERMINAL, Kind.ORGANISATION, Kind.CONTACT, Kind.VISIT, Kind.KNOWN_ERROR,
            Kind.REPLY_TEMPLATE,
        }  # fmt: skip
    else:
        for kind in Kind:
            assert seen[kind] < everything[kind], kind
        assert [world.facts[Kind.KNOWN_ERROR][k].public for k in seen[Kind.KNOWN_ERROR]] == [True]
        assert seen[Kind.REPLY_TEMPLATE] == set()
    if role == "client":
        assert all(world.facts[Kind.MESSAGE][m].public for m in seen[Kind.MESSAGE])
        assert seen[Kind.EVIDENCE] < seen[Kind.TICKET]
        assert all(world.facts[Kind.EVIDENCE][t].terminal_organisation == 1 for t in seen[Kind.EVIDENCE])
    assert seen[Kind.TICKET]
    assert seen[Kind.VEHICLE]


def test_a_client_or_crew_of_nobody_sees_nothing(world):
    for role in ("client", "crew"):
        for kind in set(Kind) - {Kind.USER, Kind.KNOWN_ERROR}:
            assert world.listed(User(9, "nobody", role), kind) == set()
    assert world.listed(User(9, "nobody", "unheard of"), Kind.TICKET) == set()


def test_fields_are_left_out_by_role():
    fields = dict.fromkeys(("number", "checks", "price", "profile"), 1)
    assert set(shown(User(1, "a", "client"), Kind.TICKET, fields)) == {"number", "price", "profile"}
    assert set(shown(User(1, "a", "crew"), Kind.TICKET, fields)) == {"number", "checks", "profile"}
    for role in ("admin", "manager", "engineer", "auditor"):
        assert shown(User(1, "a", role), Kind.TICKET, fields) == fields
    assert "profile" in hidden(User(1, "a", "client"), Kind.ORGANISATION)
