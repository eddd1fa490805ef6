"""Who sees what: one rule for lists, single objects and fields. Whatever shows something asks here, and nothing else.

For a person and a kind of object:

    condition(user, Kind.TICKET, "t")     SQL over the table's alias, for lists and look-ups: what it leaves out is 404
    sees(user, Kind.TICKET, facts)        the same of one object in hand
    hidden(user, Kind.TICKET)             fields of it that are left out of an answer

| role | sees |
|---|---|
| admin, auditor | all |
| manager | all but users |
| engineer | all but users; of tickets those of the own teams, of no team, and what they own, whatever its team |
| client | what belongs to the own organisations; of messages the public ones; evidence of their own terminals alone |
| client, crew | of known errors those that are public and in use |
| crew | what its visits need, while they are not called off: ticket, vehicle, terminal, organisation, contacts |

Everybody sees the own account. What somebody may *do* with it is a route's right (`kit.access`).
The conditions hold no placeholders, so that they fit into every statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple

from psycopg import sql

from ticketing.people.users import User

ALL = sql.SQL("TRUE")
NONE = sql.SQL("FALSE")


class Kind(StrEnum):
    """What there is to be seen; the alias of a condition is of the table named beside it."""

    TICKET = "ticket"  # ticket
    MESSAGE = "message"  # ticket_message
    EVIDENCE = "evidence"  # ticket: what its evidence shows of a terminal
    VEHICLE = "vehicle"  # vehicle
    TERMINAL = "terminal"  # terminal
    ORGANISATION = "organisation"  # organisation
    CONTACT = "contact"  # contact
    VISIT = "visit"  # visit
    USER = "user"  # app_user
    KNOWN_ERROR = "known error"  # known_error
    REPLY_TEMPLATE = "reply template"  # reply_template


class Facts(NamedTuple):
    """What the rule asks of an object.

    `organisation`: whose it is; of a terminal that of its vehicle, of a visit that of its vehicle, None without one.
    `team`, `owner`: of the ticket. `crews`: users and teams whose visits need it, those that were called off left out;
    of a visit whose it is. `public`: of a message; of a known error whether it is public and in use.
    `terminal_organisation`: of evidence. `user`: of an account, its id.
    """

    organisation: int | None = None
    team: str | None = None
    owner: str | None = None
    crews: Collection[str] = ()
    public: bool = True
    terminal_organisation: int | None = None
    user: int | None = None


_OF_TICKETS = (Kind.TICKET, Kind.MESSAGE, Kind.EVIDENCE)
_OF_DESK = (Kind.KNOWN_ERROR, Kind.REPLY_TEMPLATE)  # nobody's in particular
_DESK = ("admin", "manager", "auditor", "engineer")
_GUESTS = ("client", "crew")
_HIDDEN: Mapping[tuple[str, Kind], frozenset[str]] = {
    ("client", Kind.TICKET): frozenset(
        {"commands", "checks", "tasks", "incidents", "priority_reason", "team", "tier", "suggestions"}
    ),
    ("client", Kind.ORGANISATION): frozenset({"profile"}),
    ("crew", Kind.TICKET): frozenset(
        {"commands", "secrets", "permissions", "price", "consent", "priority_reason", "suggestions"}
    ),
    ("crew", Kind.ORGANISATION): frozenset({"profile", "contract", "policy", "plan"}),
    ("crew", Kind.CONTACT): frozenset({"has_code_word"}),
    ("engineer", Kind.KNOWN_ERROR): frozenset({"ticket"}),  # it may be another team's
    ("client", Kind.KNOWN_ERROR): frozenset({"ticket", "created_by"}),
    ("crew", Kind.KNOWN_ERROR): frozenset({"ticket", "created_by"}),
}


def hidden(user: User, kind: Kind) -> frozenset[str]:
    """The fields of such an object that `user` is not shown."""
    return _HIDDEN.get((user.role, kind), frozenset())


def guarded(kind: Kind) -> frozenset[str]:
    """The fields of such an object that somebody is not shown."""
    return frozenset().union(*(away for (_, its), away in _HIDDEN.items() if its == kind))


def shown(user: User, kind: Kind, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` without the hidden ones."""
    away = hidden(user, kind)
    return {name: value for name, value in fields.items() if name not in away}


def sees(user: User, kind: Kind, facts: Facts) -> bool:
    """Whether `user` sees the object of which these are the facts."""
    if kind == Kind.USER:
        return user.role in ("admin", "auditor") or facts.user == user.id
    if kind in _OF_DESK:
        return user.role in _DESK or (user.role in _GUESTS and kind == Kind.KNOWN_ERROR and facts.public)
    match user.role:
        case "admin" | "manager" | "auditor":
            return True
        case "engineer":
            return (
                kind not in _OF_TICKETS
                or facts.team is None
                or facts.team in user.teams
                or (facts.owner is not None and facts.owner == user.name)
            )
        case "client":
            return (
                facts.organisation in user.organisations
                and (kind != Kind.MESSAGE or facts.public)
                and (kind != Kind.EVIDENCE or facts.terminal_organisation in user.organisations)
            )
        case "crew":
            return not _crew(user).isdisjoint(facts.crews)
    return False


def condition(user: User, kind: Kind, alias: LiteralString) -> sql.Composable:
    """The same as a condition on the table that goes by `alias`."""
    row = sql.Identifier(alias)
    if kind == Kind.USER:
        return ALL if user.role in ("admin", "auditor") else sql.SQL("{}.id = {}").format(row, sql.Literal(user.id))
    if kind in _OF_DESK:
        if user.role in _GUESTS and kind == Kind.KNOWN_ERROR:
            return sql.SQL("({row}.public AND {row}.active)").format(row=row)
        return ALL if user.role in _DESK else NONE
    match user.role:
        case "admin" | "manager" | "auditor":
            return ALL
        case "engineer":
            return _of_engineer(user, kind, row)
        case "client":
            return _of_client(kind, row, _numbers(user.organisations))
        case "crew":
            return _of_crew(kind, row, _texts(_crew(user)))
    return NONE


def _of_engineer(user: User, kind: Kind, row: sql.Identifier) -> sql.Composable:
    if kind not in _OF_TICKETS:
        return ALL
    if kind == Kind.MESSAGE:
        return _of_its_ticket(user, row)
    return sql.SQL("({row}.team IS NULL OR {row}.team = ANY({teams}) OR {row}.owner = ANY({name}))").format(
        row=row, teams=_texts(user.teams), name=_texts([user.name])
    )


def _of_its_ticket(user: User, row: sql.Identifier) -> sql.Composable:
    return sql.SQL("EXISTS (SELECT FROM ticket seen WHERE seen.id = {row}.ticket AND {seen})").format(
        row=row, seen=condition(user, Kind.TICKET, "seen")
    )


def _of_client(kind: Kind, row: sql.Identifier, own: sql.Composable) -> sql.Composable:
    statement: LiteralString
    match kind:
        case Kind.ORGANISATION:
            statement = "{row}.id = ANY({own})"
        case Kind.MESSAGE:
            statement = (
                "({row}.public AND EXISTS (SELECT FROM ticket seen"
                " WHERE seen.id = {row}.ticket AND seen.organisation = ANY({own})))"
            )
        case Kind.EVIDENCE:
            statement = (
                "({row}.organisation = ANY({own}) AND EXISTS (SELECT FROM vehicle seen"
                " WHERE seen.terminal = {row}.terminal AND seen.organisation = ANY({own})))"
            )
        case Kind.TERMINAL:
            statement = (
                "EXISTS (SELECT FROM vehicle seen WHERE seen.terminal = {row}.id AND seen.organisation = ANY({own}))"
            )
        case Kind.VISIT:
            statement = (
                "EXISTS (SELECT FROM vehicle seen WHERE seen.id = {row}.vehicle AND seen.organisation = ANY({own}))"
            )
        case _:
            statement = "{row}.organisation = ANY({own})"
    return sql.SQL(statement).format(row=row, own=own)


def _of_crew(kind: Kind, row: sql.Identifier, crew: sql.Composable) -> sql.Composable:
    statement: LiteralString
    match kind:
        case Kind.VISIT:
            statement = "{row}.crew = ANY({crew})"
        case Kind.TICKET | Kind.EVIDENCE | Kind.MESSAGE:
            column: LiteralString = "ticket" if kind == Kind.MESSAGE else "id"
            statement = (
                "EXISTS (SELECT FROM visit_ticket its JOIN visit seen ON seen.id = its.visit"
                " WHERE its.ticket = {row}." + column + " AND seen.state <> 'cancelled' AND seen.crew = ANY({crew}))"
            )
        case Kind.VEHICLE:
            statement = (
                "EXISTS (SELECT FROM visit seen WHERE seen.vehicle = {row}.id"
                " AND seen.state <> 'cancelled' AND seen.crew = ANY({crew}))"
            )
        case _:
            joined: dict[Kind, LiteralString] = {
                Kind.TERMINAL: "its.terminal = {row}.id",
                Kind.ORGANISATION: "its.organisation = {row}.id",
                Kind.CONTACT: "its.organisation = {row}.organisation",
            }
            statement = (
                "EXISTS (SELECT FROM visit seen JOIN vehicle its ON its.id = seen.vehicle WHERE "
                + joined[kind]
                + " AND seen.state <> 'cancelled' AND seen.crew = ANY({crew}))"
            )
    return sql.SQL(statement).format(row=row, crew=crew)


def _crew(user: User) -> frozenset[str]:
    """What a visit's crew may be called so that it is this user's."""
    return frozenset({user.name, *user.teams}) - {""}


def _numbers(values: Iterable[int]) -> sql.Composable:
    return sql.SQL("ARRAY[{}]::bigint[]").format(sql.SQL(", ").join(map(sql.Literal, sorted(values))))


def _texts(values: Iterable[str]) -> sql.Composable:
    return sql.SQL("ARRAY[{}]::text[]").format(sql.SQL(", ").join(map(_text, sorted(values))))


def _text(value: str) -> sql.SQL:
    """A literal without any sign that a statement with placeholders would read: all but letters and digits escaped."""
    plain = "".join(c if c.isascii() and c.isalnum() else f"\\+{ord(c):06X}" for c in value)
    return sql.SQL(f"U&'{plain}'")
