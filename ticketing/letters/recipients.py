"""Who gets a letter: the policy's words, looked up. A person is named even where nothing can be sent to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ticketing.core.db import Connection
from ticketing.letters.kinds import Word

STAFF: frozenset[Word] = frozenset({"owner", "team", "manager"})


@dataclass(frozen=True, slots=True)
class Recipient:
    """One person, or a bare address.

    Attributes
    ----------
    contact : row of `contact`; None for staff and for a sender who is no contact.
    address : empty where there is none that works; `owe` then writes down that nobody was told.
    language : en, ru or zh. `zone` : IANA name, of the times in the letter and of the quiet hours.
    quiet_hours : ``22:00-07:00``, or empty.
    bounced : the address that there is does not take letters.
    """

    contact: int | None
    address: str
    name: str
    language: str = "en"
    zone: str = "UTC"
    quiet_hours: str = ""
    bounced: bool = False


_CONTACT = (
    "SELECT c.id, c.emails, c.bounced, c.name, coalesce(c.language, o.language), coalesce(o.time_zone, %(zone)s),"
    " coalesce(c.quiet_hours, ''), CASE WHEN c.organisation = %(organisation)s THEN c.roles ELSE '{}' END"
    " FROM contact c JOIN organisation o ON o.id = c.organisation"
)


async def recipients(connection: Connection, ticket: int, to: Sequence[Word], *, zone: str = "UTC") -> list[Recipient]:
    """Who is meant by `to` on a ticket, in its order, each once; a client's person without an address among them.

    ``reporter`` is the ticket's contact, or the address it was sent from; where both are missing, as on what the watch
    opened, the duty contacts. ``contract-address`` is the contacts with role ``contract``, else the duty contacts;
    ``watchers`` the contacts in the ticket's ``details.watchers``. ``owner``, ``team`` and ``manager`` are users;
    one without an e-mail address is written to where the name is one.

    Parameters
    ----------
    ticket : its row.
    zone : the policy's, for an organisation that has none.
    """
    rows = await connection.execute(
        "SELECT t.reporter, t.sender, t.organisation, t.owner, t.team, t.details -> 'watchers', t.verified,"
        " coalesce(t.language, o.language, 'en'), coalesce(o.time_zone, %s), o.project_manager"
        " FROM ticket t LEFT JOIN organisation o ON o.id = t.organisation WHERE t.id = %s",
        (zone, ticket),
    )
    row = await rows.fetchone()
    if row is None:
        return []
    reporter, sender, organisation, owner, team, watchers, verified, language, place, manager = row
    known = await _contacts(connection, organisation, reporter, _whole_numbers(watchers), zone)
    duty = [person for person, roles in known.values() if "duty" in roles]
    found: list[Recipient] = []
    for word in to:
        if word == "reporter":
            if reporter is not None and reporter in known:
                found.append(known[reporter][0])
            elif sender:
                found.append(Recipient(None, sender if "@" in sender else "", sender, language, place))
            else:
                found += duty
        elif word in STAFF:
            found += await _staff(connection, word, owner, team, manager, language, place)
        elif not verified:
            continue  # who calls in somebody's name does not make us write to the others
        elif word == "contact":
            found += duty
        elif word == "contract-address":
            found += [person for person, roles in known.values() if "contract" in roles] or duty
        elif word == "watchers":
            found += [known[one][0] for one in _whole_numbers(watchers) if one in known]
    once: dict[tuple[int | None, str], Recipient] = {}
    for one in found:
        once.setdefault((one.contact, one.address.lower()), one)
    return list(once.values())


async def outage_recipients(
    connection: Connection, organisations: Sequence[int], *, zone: str = "UTC"
) -> list[Recipient]:
    """Of each organisation the contacts with role ``outage``, else ``duty``; one without an address where an
    organisation has neither, so that it is written down that nobody there was told."""
    found: list[Recipient] = []
    for organisation in organisations:
        known = await _contacts(connection, organisation, None, (), zone)
        people = [person for person, roles in known.values() if "outage" in roles]
        people = people or [person for person, roles in known.values() if "duty" in roles]
        found += people or [await _nobody(connection, organisation)]
    return found


async def contact_recipients(connection: Connection, contacts: Sequence[int], *, zone: str = "UTC") -> list[Recipient]:
    """These contacts, in their order, as for an advisory; one that there is not is left out."""
    known = await _contacts(connection, None, None, contacts, zone)
    return [known[one][0] for one in dict.fromkeys(contacts) if one in known]


async def _nobody(connection: Connection, organisation: int) -> Recipient:
    rows = await connection.execute("SELECT name FROM organisation WHERE id = %s", (organisation,))
    row = await rows.fetchone()
    return Recipient(None, "", row[0] if row else str(organisation))


async def _contacts(
    connection: Connection, organisation: int | None, reporter: int | None, others: Sequence[int], zone: str
) -> dict[int, tuple[Recipient, list[str]]]:
    """An organisation's active contacts with their roles there, and without any the reporter and others, whoever they
    are; by row, in order of rows."""
    rows = await connection.execute(
        f"{_CONTACT} WHERE (c.organisation = %(organisation)s AND c.active) OR c.id = %(reporter)s"
        " OR (c.id = ANY(%(others)s) AND c.active) ORDER BY c.id".encode(),
        {"zone": zone, "organisation": organisation, "reporter": reporter, "others": list(others)},
    )
    return {row[0]: (_recipient(row), list(row[7])) for row in await rows.fetchall()}


def _recipient(row: Sequence[Any]) -> Recipient:
    identity, emails, bounced, name, language, place, quiet, _roles = row
    address = next((one for one in emails if one.lower() not in bounced), "")
    return Recipient(identity, address, name, language, place, quiet, bounced=bool(emails) and not address)


async def _staff(
    connection: Connection,
    word: Word,
    owner: str | None,
    team: str | None,
    manager: str | None,
    language: str,
    zone: str,
) -> list[Recipient]:
    rows = await connection.execute(
        "SELECT name, coalesce(email, CASE WHEN name LIKE '%%@%%' THEN name END, ''),"
        " coalesce(language, %(language)s), coalesce(time_zone, %(zone)s) FROM app_user WHERE active AND"
        " CASE %(word)s WHEN 'owner' THEN name = %(owner)s WHEN 'team' THEN %(team)s = ANY(teams)"
        " ELSE name = %(manager)s END AND role IN ('admin', 'manager', 'engineer') ORDER BY id",
        {"language": language, "zone": zone, "word": word, "owner": owner, "team": team, "manager": manager},
    )
    return [
        Recipient(None, address, name, spoken, place)
        for name, address, spoken, place in await rows.fetchall()
        if address
    ]


def _whole_numbers(found: Any) -> list[int]:
    return [one for one in found if isinstance(one, int)] if isinstance(found, list) else []
