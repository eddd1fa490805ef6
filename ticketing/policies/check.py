"""Reading a policy file: TOML, shape and meaning, each complaint with file, line and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from ticketing.core.toml_source import NotTomlError, NotUtf8Error, TomlSource, Where, where_and_what
from ticketing.policies.format import PolicyFile
from ticketing.working_time import calendars
from ticketing.working_time.budgets import Budget, Kind
from ticketing.working_time.errors import ClockInputError, PolicyError
from ticketing.working_time.hours import parse_days, parse_hours, working_time
from ticketing.working_time.time_zones import zone

MAX_BYTES = 1 << 20  # a policy is a few kilobytes; more is no policy

MAX_REMINDERS = 3
MAX_RANK = 9
MAX_LEAST = 100
MAX_AT_ONCE = 10
MAX_DAYS = 3650
NEEDS = {
    "not_reproducible": "attempts",
    "no_data": "itemised-request",
    "misuse": "rule-and-proof",
    "out_of_scope": "contract-clause",
}

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_TICKET_STARTS = ("request-received", "ticket-opened")

T = TypeVar("T")


class Complaint(NamedTuple):
    """Where in the file (table, its index, key), what, and the remedy."""

    table: str
    place: int
    key: str
    problem: str
    remedy: str


class Source:
    """A policy file; its complaints say where."""

    def __init__(self, file: str, raw: bytes) -> None:
        self.file = file
        self._toml = TomlSource(raw)
        self.content = self._toml.content

    def error(self, complaint: Complaint) -> PolicyError:
        table, index, key, problem, remedy = complaint
        named = f"[{table}] " if table else ""
        if key:
            named += f"{key}: "
        return PolicyError(self.file, self._line(table, index, key), f"{named}{problem}", remedy)

    def _line(self, table: str, index: int, key: str) -> int:
        """The key's line, else its table's, else the first."""
        where: Where = (table,) if table else ()
        if isinstance(self.content.get(table), list):
            where = (table, index)
        return self._toml.line((*where, key) if key else where)


def read(file: str, raw: bytes) -> tuple[PolicyFile | None, list[PolicyError]]:
    """The parsed file, or None and every complaint that could be found.

    A file whose TOML or shape is broken yields that one complaint; one whose meaning is wrong yields them all.
    """
    if len(raw) > MAX_BYTES:
        return None, [PolicyError(file, 1, f"{len(raw)} bytes", f"A policy has at most {MAX_BYTES} bytes")]
    try:
        source = Source(file, raw)
        parsed = msgspec.convert(source.content, PolicyFile)
    except NotUtf8Error as error:
        return None, [PolicyError(file, error.line, "not UTF-8", "Save the file as UTF-8")]
    except NotTomlError as error:
        return None, [PolicyError(file, error.line, f"not TOML: {error.detail}", "Mend that line")]
    except msgspec.ValidationError as error:
        return None, [_shape_error(source, str(error))]
    complaints = [source.error(complaint) for complaint in _meaning(parsed)]
    complaints.sort(key=lambda complaint: complaint.line)
    return (None if complaints else parsed), complaints


def _shape_error(source: Source, message: str) -> PolicyError:
    """Turn msgspec's path into a line."""
    where, problem = where_and_what(message)
    names = [step for step in where if isinstance(step, str)]
    index = next((step for step in where if isinstance(step, int)), 0)
    unknown = "unknown field" in message
    table, key = (names[0], names[1] if len(names) > 1 else "") if names else ("", "")
    if len(names) == 1 and (unknown or len(where) == 1):
        table, key = "", names[0]
    remedy = "Take the key out or mend its spelling" if unknown else "See docs/policies.md"
    return source.error(Complaint(table, index if table else 0, key, problem, remedy))


def _meaning(policy: PolicyFile) -> Iterator[Complaint]:
    if not _NAME.fullmatch(policy.name):
        yield Complaint("", 0, "name", f"{policy.name!r} is no name", "Use lower-case letters, digits and dashes")
    if policy.version < 1:
        yield Complaint("", 0, "version", f"{policy.version} is below 1", "Count versions from 1")
    yield from _working_time(policy)
    yield from _clocks(policy)
    names = {clock.name for clock in policy.clock}
    yield from _levels("priority", [entry.level for entry in policy.priority])
    yield from _levels("plan", [entry.level for entry in policy.plan])
    yield from _levels("tier", [entry.level for entry in policy.tier])
    users: list[tuple[str, Sequence[Any]]] = [("priority", policy.priority), ("plan", policy.plan)]
    for table, entries in users:
        for index, entry in enumerate(entries):
            for clock in entry.clocks:
                if clock not in names:
                    yield Complaint(table, index, "clocks", f"no clock {clock!r}", _known(names))
    yield from _ladders(policy, names)
    yield from _once("letter", "kind", [letter.kind for letter in policy.letter])
    for index, letter in enumerate(policy.letter):
        if not letter.to:
            yield Complaint("letter", index, "to", "nobody gets it", "Name at least one recipient")
    yield from _consent(policy)
    yield from _desk(policy)


def _working_time(policy: PolicyFile) -> Iterator[Complaint]:
    given = policy.working_time
    found: list[Complaint] = []

    def read_key(key: str, reader: Callable[[str], T], text: str) -> T | None:
        try:
            return reader(text)
        except ClockInputError as error:
            found.append(Complaint("working_time", 0, key, error.problem, error.remedy))
            return None

    calendar = read_key("calendar", calendars.known_name, given.calendar)
    place = read_key("time_zone", zone, given.time_zone)
    hours = read_key("hours", parse_hours, given.hours)
    days = read_key("days", parse_days, given.days)
    yield from found
    seen: set[Any] = set()
    for index, entry in enumerate(policy.exception):
        if entry.date in seen:
            yield Complaint("exception", index, "date", f"{entry.date} stands twice", "Keep one of them")
        seen.add(entry.date)
        if entry.hours is not None and not entry.open:
            yield Complaint("exception", index, "hours", "a closed day has none", "Set open = true or drop them")
        if not entry.reason.strip():
            yield Complaint("exception", index, "reason", "it is empty", "Say why, clients read it")
    if calendar is None or place is None or hours is None or days is None:
        return
    if not policy.exception:
        return  # hours and days that parse always leave working time; building the country would cost 0.5 s
    try:
        working_time(with_exceptions(calendars.shipped(calendar), policy), place, hours, days)
    except ClockInputError as error:
        yield Complaint("exception", 0, "", f"{error.field}: {error.problem}", error.remedy)


def with_exceptions(calendar: calendars.Calendar, policy: PolicyFile) -> calendars.Calendar:
    """The calendar with the policy's own days; the calendar itself if it has none."""
    if not policy.exception:
        return calendar
    return calendar.edited(
        {
            entry.date: calendars.SpecialDay(
                calendars.DayKind.OPEN if entry.open else calendars.DayKind.CLOSED,
                entry.reason,
                hours=None if entry.hours is None else parse_hours(entry.hours),
            )
            for entry in policy.exception
        }
    )


def _clocks(policy: PolicyFile) -> Iterator[Complaint]:
    if not policy.clock:
        yield Complaint("clock", 0, "", "there is none", "A policy has at least one [[clock]]")
    seen: set[str] = set()
    for index, clock in enumerate(policy.clock):
        if not _NAME.fullmatch(clock.name):
            yield Complaint("clock", index, "name", f"{clock.name!r} is no name", "Use lower-case letters and dashes")
        if clock.name in seen:
            yield Complaint("clock", index, "name", f"{clock.name!r} stands twice", "Give each clock its own name")
        seen.add(clock.name)
        try:
            Budget.parse(clock.budget, Kind(clock.kind))
        except ClockInputError as error:
            yield Complaint("clock", index, "budget", error.problem, error.remedy)
        if clock.replaces is not None and clock.replaces not in {other.name for other in policy.clock} - {clock.name}:
            yield Complaint("clock", index, "replaces", f"no other clock {clock.replaces!r}", "Name one of this policy")
        if clock.warn_at != sorted(set(clock.warn_at)) or not all(0 < share <= 100 for share in clock.warn_at):
            yield Complaint("clock", index, "warn_at", f"{clock.warn_at} is no rising list", "Write [50, 75, 100]")
    if policy.ticket_clock is not None:
        taken = [clock for clock in policy.clock if clock.name == policy.ticket_clock]
        if not taken:
            yield Complaint("", 0, "ticket_clock", f"no clock {policy.ticket_clock!r}", _known(seen))
        elif taken[0].starts not in _TICKET_STARTS:
            problem = f"{policy.ticket_clock!r} does not start when a ticket opens"
            yield Complaint("", 0, "ticket_clock", problem, f"Take one that starts at {' or '.join(_TICKET_STARTS)}")


def _ladders(policy: PolicyFile, names: set[str]) -> Iterator[Complaint]:
    tiers = {tier.level for tier in policy.tier}
    for index, ladder in enumerate(policy.ladder):
        if ladder.clock is not None and ladder.clock not in names:
            yield Complaint("ladder", index, "clock", f"no clock {ladder.clock!r}", _known(names))
        if not ladder.steps:
            yield Complaint("ladder", index, "steps", "there are none", "Give at least one step")
        for step in ladder.steps:
            if (step.percent is None) is (step.after is None):
                yield Complaint(
                    "ladder", index, "steps", "a step needs percent or after, and not both", "Keep one of them"
                )
            if step.percent is not None and (ladder.clock is None or not 0 < step.percent <= 100):
                yield Complaint(
                    "ladder", index, "steps", f"percent {step.percent} of no clock", "Name the clock, 1-100"
                )
            if (step.tell == "tier") is (step.tier is None) or (step.tier is not None and step.tier not in tiers):
                yield Complaint("ladder", index, "steps", f"no tier {step.tier}", "Name a tier of this policy")
            if step.after is not None:
                try:
                    Budget.parse(step.after, Kind(step.kind))
                except ClockInputError as error:
                    yield Complaint("ladder", index, "steps", error.problem, error.remedy)


def _consent(policy: PolicyFile) -> Iterator[Complaint]:
    consent = policy.consent
    if consent is None:
        return
    if not consent.accepted:
        yield Complaint("consent", 0, "accepted", "no ticket could ever close", 'Write ["explicit"]')
    if ("deemed" in consent.accepted) is (consent.deemed_after is None):
        yield Complaint(
            "consent", 0, "deemed_after", 'it goes with "deemed" in accepted, and only with it', "Give both or none"
        )
    if len(consent.reminders) > MAX_REMINDERS:
        problem = f"{len(consent.reminders)} of them"
        yield Complaint("consent", 0, "reminders", problem, f"At most {MAX_REMINDERS}: more is a nuisance")
    terms = [("deemed_after", consent.deemed_after, consent.kind), ("reopen_within", consent.reopen_within, "real")]
    terms += [("reminders", text, consent.kind) for text in consent.reminders]
    for key, text, kind in terms:
        if text is not None:
            try:
                Budget.parse(text, Kind(kind))
            except ClockInputError as error:
                yield Complaint("consent", 0, key, error.problem, error.remedy)


def _desk(policy: PolicyFile) -> Iterator[Complaint]:
    """What rules the desk besides its clocks."""
    if policy.form.version < 1:
        yield Complaint("form", 0, "version", f"{policy.form.version} is below 1", "Count versions from 1")
    for key in ("all", "network", "hardware", "software", "consulting"):
        fields = getattr(policy.form, key)
        if len(set(fields)) < len(fields):
            yield Complaint("form", 0, key, "a field stands twice", "Keep one of them")
    yield from _once("channel", "name", [channel.name for channel in policy.channel])
    for index, channel in enumerate(policy.channel):
        if not 0 <= channel.rank <= MAX_RANK:
            yield Complaint("channel", index, "rank", f"{channel.rank} is outside 0 to {MAX_RANK}", "Take a small one")
    yield from _once("deferral", "code", [deferral.code for deferral in policy.deferral])
    for index, deferral in enumerate(policy.deferral):
        if deferral.needs != NEEDS[deferral.code]:
            problem = f"{deferral.code} does not rest on {deferral.needs}"
            yield Complaint("deferral", index, "needs", problem, f'Write "{NEEDS[deferral.code]}"')
    for table, names in (("plan", [plan.name for plan in policy.plan]), ("tier", [tier.name for tier in policy.tier])):
        yield from _once(table, "name", names)
    if policy.eta is not None:
        if not policy.eta.basis:
            yield Complaint("eta", 0, "basis", "there is none", "Name what a repair time may rest on")
        try:
            Budget.parse(policy.eta.mandatory_within, Kind(policy.eta.kind))
        except ClockInputError as error:
            yield Complaint("eta", 0, "mandatory_within", error.problem, error.remedy)
    if not 0 <= policy.price.warranty_years <= 100:
        problem = f"{policy.price.warranty_years} is outside 0 to 100"
        yield Complaint("price", 0, "warranty_years", problem, "Write whole years; 0: none")
    try:
        parse_days(policy.price.city_days)
    except ClockInputError as error:
        yield Complaint("price", 0, "city_days", error.problem, error.remedy)
    if policy.review is not None:
        if not 1 <= policy.review.percent <= 100:
            yield Complaint("review", 0, "percent", f"{policy.review.percent} is no share", "Write 1 to 100")
        if not 0 <= policy.review.least <= MAX_LEAST:
            problem = f"{policy.review.least} is outside 0 to {MAX_LEAST}"
            yield Complaint("review", 0, "least", problem, "Write how many are looked at however few there are")
    yield from _kept(policy)
    if policy.priority_rule.set_by == "client" and not policy.priority:
        yield Complaint("priority_rule", 0, "set_by", "there is no level to choose", "Add [[priority]] tables")


def _kept(policy: PolicyFile) -> Iterator[Complaint]:
    """Archives that are asked again, recordings that are kept."""
    try:
        parse_hours(policy.reloads.window)
    except ClockInputError as error:
        yield Complaint("reloads", 0, "window", error.problem, error.remedy)
    if not 1 <= policy.reloads.at_once <= MAX_AT_ONCE:
        problem = f"{policy.reloads.at_once} is outside 1 to {MAX_AT_ONCE}"
        yield Complaint("reloads", 0, "at_once", problem, "Take a small one: the servers are to be spared")
    if not 1 <= policy.recordings.days <= MAX_DAYS:
        problem = f"{policy.recordings.days} is outside 1 to {MAX_DAYS}"
        yield Complaint("recordings", 0, "days", problem, "Write whole days")


def _once(table: str, key: str, values: Sequence[str]) -> Iterator[Complaint]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield Complaint(table, index, key, f"{value!r} stands twice", "Keep one of them")


def _levels(table: str, levels: list[int]) -> Iterator[Complaint]:
    for index, level in enumerate(levels):
        if level < 1 or level in levels[:index]:
            yield Complaint(table, index, "level", f"{level} is below 1 or stands twice", "Count levels from 1")


def _known(names: set[str]) -> str:
    return f"This policy has {', '.join(sorted(names))}"
