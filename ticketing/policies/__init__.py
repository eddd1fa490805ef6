"""Support rules as data: the shipped policies, and loading others.

A contract names a policy and its version (`integrator-standard@1`); a changed policy is a new version beside the old
one, so tickets keep the promise they were opened under.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from ticketing.policies import check as _check
from ticketing.policies.before import upgraded
from ticketing.policies.format import ClockTable, PolicyFile
from ticketing.working_time import calendars
from ticketing.working_time.budgets import Budget, Fires, Kind
from ticketing.working_time.errors import ClockInputError, PolicyError
from ticketing.working_time.hours import WorkingTime, parse_days, parse_hours, working_time
from ticketing.working_time.time_zones import zone

PRESETS = ("integrator-standard", "support-procedure", "dealer-desk", "carrier-helpdesk", "after-sales")


@dataclass(frozen=True, slots=True)
class Terms:
    """One clock of a policy, ready to run."""

    table: ClockTable
    budget: Budget
    fires: Fires
    warn_at: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Policy:
    """One version of a policy; `file` holds all of it as typed tables."""

    file: PolicyFile

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def version(self) -> int:
        return self.file.version

    @property
    def reference(self) -> str:
        """What a contract writes: `name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def ticket_clock(self) -> str | None:
        """The clock that a new ticket takes at once; None: none starts when a ticket opens."""
        return self.file.ticket_clock

    @cached_property
    def clocks(self) -> dict[str, Terms]:
        """The policy's clocks by name, in the file's order."""
        return {
            table.name: Terms(
                table, Budget.parse(table.budget, Kind(table.kind)), Fires(table.fires), tuple(table.warn_at)
            )
            for table in self.file.clock
        }

    def clock(self, name: str) -> Terms:
        """One clock; asking for one that the policy does not have is an error, never a guess."""
        if name not in self.clocks:
            raise ClockInputError("clock", f"{self.name} has no clock {name!r}", f"It has {', '.join(self.clocks)}")
        return self.clocks[name]

    @property
    def zone(self) -> tzinfo:
        """The zone whose days and wall clock the policy speaks of."""
        return zone(self.file.working_time.time_zone).info

    @cached_property
    def working_time(self) -> WorkingTime:
        """The policy's calendar with its own days, zone, hours and weekdays."""
        given = self.file.working_time
        table = _check.with_exceptions(calendars.shipped(given.calendar), self.file)
        return working_time(table, zone(given.time_zone), parse_hours(given.hours), parse_days(given.days))

    def as_json(self) -> dict[str, Any]:
        """The whole policy as plain data, defaults filled in."""
        content: dict[str, Any] = msgspec.to_builtins(self.file)
        return content


def load(path: Path) -> Policy:
    """Read a policy file.

    Raises
    ------
    PolicyError
        The first complaint, with file, line and remedy; `problems` gives all.
    OSError
        If the file cannot be read.
    """
    return _policy(str(path), _read_bounded(path))


def of_stored(content: Mapping[str, Any]) -> Policy:
    """The policy of stored plain data, of this release or of an earlier one.

    Raises
    ------
    msgspec.ValidationError
        If it is none.
    """
    return Policy(msgspec.convert(upgraded(content), PolicyFile))


def problems(path: Path) -> list[PolicyError]:
    """Everything wrong with a policy file, in the order of its lines; empty: it is good."""
    return _check.read(str(path), _read_bounded(path))[1]


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_check.MAX_BYTES + 1)


def _policy(file: str, raw: bytes) -> Policy:
    parsed, complaints = _check.read(file, raw)
    if parsed is None:
        raise complaints[0]
    return Policy(parsed)


def _files() -> list[tuple[str, bytes]]:
    return [(e.name, e.read_bytes()) for e in resources.files(__name__).iterdir() if e.name.endswith(".toml")]


def source(reference: str) -> str:
    """The file of a shipped policy with its comments; unknown ones raise `ClockInputError`."""
    wanted = get(reference).reference
    return next(raw.decode() for name, raw in _files() if _policy(name, raw).reference == wanted)


@lru_cache(maxsize=1)
def shipped() -> tuple[Policy, ...]:
    """The policies of this release: the five presets first, then others by name and version."""
    found = [_policy(name, raw) for name, raw in _files()]
    order = {name: place for place, name in enumerate(PRESETS)}
    return tuple(sorted(found, key=lambda policy: (order.get(policy.name, len(order)), policy.name, policy.version)))


class PolicyBook:
    """Policies by name and version; the highest version is the current one."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._policies: dict[str, dict[int, Policy]] = {}
        for policy in policies:
            self.add(policy)

    def add(self, policy: Policy) -> None:
        """Put a version in force beside the old ones; a version once given cannot be changed."""
        versions = self._policies.setdefault(policy.name, {})
        known = versions.get(policy.version)
        if known is not None and known.file != policy.file:
            raise ClockInputError(
                "policy", f"{policy.reference} exists with other content", "Give the changed file the next version"
            )
        versions[policy.version] = policy

    def get(self, reference: str) -> Policy:
        """`name` for the current version, `name@version` for exactly that one."""
        name, at, number = reference.partition("@")
        versions = self._policies.get(name)
        if not versions:
            raise ClockInputError("policy", f"unknown policy {name!r}", f"Known: {', '.join(self._policies)}")
        if not at:
            return versions[max(versions)]
        if not number.isascii() or not number.isdecimal() or int(number[:9]) not in versions:
            raise ClockInputError(
                "policy", f"{name} has no version {number!r}", f"It has {', '.join(map(str, sorted(versions)))}"
            )
        return versions[int(number)]

    def list(self) -> list[Policy]:
        """All policies, every version."""
        return [policy for versions in self._policies.values() for policy in versions.values()]


@lru_cache(maxsize=1)
def book() -> PolicyBook:
    """The shipped policies as a book."""
    return PolicyBook(shipped())


def is_file(reference: str) -> bool:
    """Whether a reference names a file: it has a slash in it, or ends in `.toml`."""
    return "/" in reference or reference.endswith(".toml")


def resolve(reference: str) -> Policy:
    """A shipped policy by `name` or `name@version`, or the policy file of that path; see `get` and `load`."""
    return load(Path(reference)) if is_file(reference) else get(reference)


def get(reference: str) -> Policy:
    """A shipped policy by `name` or `name@version`; unknown ones raise `ClockInputError`."""
    return book().get(reference)
