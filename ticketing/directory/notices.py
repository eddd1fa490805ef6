"""What cannot work among people: rules without a calendar, contacts nobody can reach, clients of nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, LiteralString

from ticketing import policies
from ticketing.core.db import Pool
from ticketing.directory import terms
from ticketing.kit.notices import Notice
from ticketing.kit.words import _, ngettext
from ticketing.working_time import calendars
from ticketing.working_time.errors import ClockInputError, PolicyError

SHOWN = 5  # of each kind by name: more are told as a number


class PeopleNotices:
    """Looks at the store; `own` is the desk's policy."""

    def __init__(self, pool: Pool, *, own: str, now: Callable[[], datetime]) -> None:
        self._pool = pool
        self._own = own
        self._now = now

    async def __call__(self) -> Sequence[Notice]:
        """What cannot work now."""
        return [*await self._rules(), *await self._contacts(), *await self._clients()]

    async def _rules(self) -> list[Notice]:
        found: list[Notice] = []
        used: set[str] = set()
        rows = await self._rows("SELECT id, name, policy, plan FROM organisation WHERE active ORDER BY id LIMIT 10000")
        for number, name, policy, plan in rows:
            for problem in terms.problems(policy, plan, own=self._own):
                text = _("%(name)s: %(problem)s") % {"name": name, "problem": problem.problem}
                found.append(Notice(text, f"/organisations/{number}"))
        for reference in {self._own, *(row[2] for row in rows if row[2])}:
            try:
                policy = policies.resolve(reference) if reference == self._own else policies.get(reference)
            except (ClockInputError, PolicyError):
                continue  # told above
            used.add(policy.file.working_time.calendar)
        found += [Notice(text) for text in calendars.missing_years(self._now(), sorted(used))]
        return found

    async def _contacts(self) -> list[Notice]:
        rows = await self._rows(
            """SELECT c.id, c.name, o.name FROM contact c JOIN organisation o ON o.id = c.organisation
               WHERE c.active AND o.active AND c.emails = '{}' AND c.phones = '{}' ORDER BY c.id"""
        )
        found = [
            Notice(
                _("%(name)s of %(organisation)s has neither address nor phone: no letter reaches them")
                % {"name": name, "organisation": organisation},
                f"/contacts/{number}",
            )
            for number, name, organisation in rows[:SHOWN]
        ]
        rest = len(rows) - SHOWN
        if rest > 0:
            text = ngettext("%(n)s more contact is like that", "%(n)s more contacts are like that", rest)
            found.append(Notice(text % {"n": rest}))
        unreached = await self._rows(
            """SELECT o.id, o.name FROM organisation o WHERE o.active AND NOT EXISTS (
                   SELECT FROM contact c WHERE c.organisation = o.id AND c.active AND c.emails <> '{}'
                   AND ('duty' = ANY(c.roles) OR 'reporter' = ANY(c.roles))) ORDER BY o.id LIMIT 20"""
        )
        return found + [
            Notice(
                _("%(organisation)s has no contact on duty with an address: automatic tickets are told to nobody")
                % {"organisation": name},
                f"/organisations/{number}",
            )
            for number, name in unreached
        ]

    async def _clients(self) -> list[Notice]:
        rows = await self._rows(
            "SELECT name FROM app_user WHERE active AND role = 'client' AND organisations = '{}' ORDER BY id LIMIT 20"
        )
        return [
            Notice(_("The client %(name)s belongs to no organisation and sees nothing") % {"name": name}, "/settings")
            for (name,) in rows
        ]

    async def _rows(self, statement: LiteralString) -> list[Any]:
        async with self._pool.connection() as connection:
            return list(await (await connection.execute(statement)).fetchall())
