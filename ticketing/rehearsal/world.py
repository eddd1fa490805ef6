"""The desk itself, on a virtual clock: a script's lines happen at their instants, between them all that time causes.

Lines of one instant run in the file's order, before anything that falls due then; nothing is sent between them. Letters
are caught. Same script, same output.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from ticketing.commands import Commands
from ticketing.core.db import Pool
from ticketing.core.errors import (
    ConflictError,
    InvalidTextError,
    NotAllowedError,
    NotFoundError,
    TicketingError,
    WrongInputError,
)
from ticketing.core.message_ids import instance_mark
from ticketing.core.sealed import Seal
from ticketing.directory.terms import problems
from ticketing.engine import Engine, Module, modules_of
from ticketing.incidents import Incidents
from ticketing.letters.compose import Desk
from ticketing.letters.courier import Courier
from ticketing.letters.post import Post
from ticketing.letters.texts import Texts
from ticketing.mail.facts import Settings
from ticketing.mail.hands import TicketHands
from ticketing.mail.judge import Judge
from ticketing.people.contacts import Contacts
from ticketing.people.organisations import Organisations
from ticketing.people.passwords import Passwords
from ticketing.people.vehicles import Vehicles
from ticketing.quality.known_errors import KnownErrors
from ticketing.rehearsal.book import Book
from ticketing.rehearsal.events import Event, Observer
from ticketing.rehearsal.modules import Catcher, LetterModule, Mailroom, Recoveries
from ticketing.rehearsal.script import Line
from ticketing.tickets.office import Office
from ticketing.tickets.undelivered import undelivered

SUPPORT, HELP = "support@desk.example", "help@desk.example"
STATUSES = {NotFoundError: 404, NotAllowedError: 403, ConflictError: 409, InvalidTextError: 422, WrongInputError: 422}
SECRET = b"a rehearsal's letters leave it never"
RECOVERY = timedelta(minutes=5)
AFTER_LAST = timedelta(hours=24)

Do = Callable[["World", Line], Awaitable[list[Event]]]


class World:
    """One rehearsal over a store of its own."""

    def __init__(
        self, pool: Pool, *, policy: str, do: Do, plan: str | None = None, recovery: timedelta = RECOVERY
    ) -> None:
        """`do` carries a line out."""
        self.pool = pool
        self._do = do
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.book = Book()
        self.observer = Observer(pool, self.book)
        self.catcher = Catcher()
        self.agents = True
        self._recovery = recovery
        self.office = Office(policy=policy, plan=plan, post=Post())
        self.office.seal = Seal(sha256(SECRET).digest())
        self.office.remote = Commands(
            pool, none=lambda _protocol: "", problem=lambda _protocol, _text: "",
            needs_permission=self._wants_permission, now=self.clock,
        )  # fmt: skip
        self._passwords = Passwords(threads=1)
        self.organisations = Organisations(
            pool, terms=lambda named, plan: problems(named, plan, own=policy), now=self.clock
        )
        self.contacts = Contacts(pool, self._passwords, now=self.clock)
        self.vehicles = Vehicles(pool, now=self.clock)
        self.known_errors = KnownErrors(pool, now=self.clock)
        self.restart()

    def clock(self) -> datetime:
        """The virtual now."""
        return self.now

    def _wants_permission(self, policy: str | None) -> bool:
        """Whether nobody may work from afar under that policy before the client said so."""
        consent = self.office.terms_of(policy).policy.file.consent
        return consent is not None and consent.remote_work

    def close(self) -> None:
        """Give back what is held."""
        self._passwords.close()

    def restart(self) -> None:
        """As after a crash: all that is not in the store is gone."""
        office = self.office
        self.incidents = Incidents(self.pool, office=office, tickets_per_minute=0)
        settings = Settings(ours=(SUPPORT, HELP), marker=instance_mark(SECRET), secret=SECRET)
        self.judge = Judge(self.pool, TicketHands(office, SECRET), settings)
        courier = Courier(
            self.pool, self.catcher, Desk(SECRET, SUPPORT, Texts(), "https://desk.example"),
            own=frozenset((SUPPORT, HELP)), hook=undelivered,
        )  # fmt: skip
        self.letters = LetterModule(courier)
        modules: list[Module] = [
            Mailroom(self.judge),
            Recoveries(self.pool, self.incidents, self._recovery),
            *modules_of(self.pool, office),
            self.letters,
        ]
        self.engine = Engine(modules)

    async def play(self, lines: list[Line], until: datetime | None = None) -> Iterator[Event]:
        """All events, in order."""
        found: list[Event] = []
        if not lines:
            return iter(found)
        end = until or lines[-1].at + AFTER_LAST
        place = 0
        self.now = lines[0].at
        while place < len(lines) and lines[place].at <= end:
            at = lines[place].at
            found += await self._advance(at, inclusive=False)
            self.now = at
            while place < len(lines) and lines[place].at == at:
                found += await self.line(lines[place])
                place += 1
            found += await self._advance(at, inclusive=True)
        found += await self._advance(end, inclusive=True)
        return iter(found)

    async def line(self, line: Line) -> list[Event]:
        """Do one line; what the desk refuses is an event, and the run goes on."""
        found: list[Event] = []
        try:
            found += await self._do(self, line)
        except TicketingError as error:
            status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 409)
            ticket = line.said.get("ticket")
            found.append(
                {
                    "at": iso(self.now), "event": "refused", "ticket": ticket if isinstance(ticket, str) else None,
                    "do": line.do, "status": status, "reason": str(error),
                }
            )  # fmt: skip
        return [*await self.observer.look(self.now), *found]

    async def _advance(self, to: datetime, *, inclusive: bool) -> list[Event]:
        """Let everything happen that falls due before `to`, or by it."""
        found: list[Event] = []
        while (due := await self.engine.next_due()) is not None:
            due = max(due, self.now)
            if due > to or (due == to and not inclusive):
                break
            self.now = due
            done = await self.engine.cycle(due)
            found += await self.observer.look(due)
            found += self.observer.letters(self.letters.taken)
            self.letters.taken.clear()
            if not done:  # somebody else's, or put off: it must not hold the clock
                break
        return found

    async def summary(self) -> Event:
        """The last line."""
        async with self.pool.connection() as connection:
            counts = {}
            for name, statement in (
                ("tickets", "SELECT count(*) FROM ticket"),
                ("breaches", "SELECT count(*) FROM breach"),
                ("open", "SELECT count(*) FROM ticket WHERE state <> 'closed'"),
            ):
                (counts[name],) = await (await connection.execute(statement.encode())).fetchone() or (0,)
            rows = await connection.execute(
                "SELECT kind, count(*) FROM letter WHERE state = 'sent' GROUP BY 1 ORDER BY 1"
            )
            letters: dict[str, int] = dict(await rows.fetchall())
            rows = await connection.execute(
                "SELECT consent_means, count(*) FROM ticket WHERE state = 'closed' AND consent_means IS NOT NULL"
                " GROUP BY 1 ORDER BY 1"
            )
            consents: dict[str, int] = dict(await rows.fetchall())
            rows = await connection.execute(
                "SELECT count(DISTINCT ticket), count(DISTINCT ticket) FILTER (WHERE read_at IS NOT NULL),"
                " count(DISTINCT ticket) FILTER (WHERE helped_at IS NOT NULL) FROM suggestion"
                " WHERE suggested_at IS NOT NULL"
            )
            knowledge = await rows.fetchone() or (0, 0, 0)
            rows = await connection.execute(
                "SELECT count(*), count(marked_at), count(*) FILTER (WHERE passed) FROM review"
            )
            reviewed = await rows.fetchone() or (0, 0, 0)
        return {
            "summary": {
                "tickets": counts["tickets"], "breaches": counts["breaches"], "letters": letters, "consents": consents,
                "open": counts["open"],
                "knowledge": dict(zip(("suggested", "read", "helped"), knowledge, strict=True)),
                "reviews": dict(zip(("wanted", "marked", "passed"), reviewed, strict=True)),
            }
        }  # fmt: skip


def iso(at: datetime) -> str:
    """As events write an instant."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
