"""One clock of a ticket over its whole life: cycles with due time, verdict and explanation. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ticketing.clocks.history import Breach, Verdict
from ticketing.clocks.walk import PAUSED, ClockResult, Rule
from ticketing.clocks.words import due_texts, moment_text, rule_text, span_texts, stand_text
from ticketing.model.states import State
from ticketing.working_time.budgets import Fires
from ticketing.working_time.time_zones import instant

UNKNOWN = "unknown"  # the verdict of a clock without a due time
TICK = timedelta(microseconds=1)
_HELD_BY: dict[str, str] = {
    State.WAITING_CLIENT: "waiting for the client",
    State.WAITING_VENDOR: "waiting for the vendor",
    "with_development": "with the development",
    State.VISIT: "a visit is planned",
    State.DEFERRED: "put off",
    State.RECOVERING: "looks repaired, being proven",
    State.AWAITING_CONSENT: "waiting for consent",
}


class Wait(NamedTuple):
    """A span in a pausing state; `end` None: still in it."""

    begin: int
    end: int | None
    state: str


@dataclass(frozen=True, eq=False)
class Stand:
    """One cycle: `result` explains the due time, pauses included; `stopped` None while it runs."""

    number: int
    result: ClockResult
    verdict: Verdict
    stopped: datetime | None
    breaches: tuple[Breach, ...]
    waits: tuple[Wait, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether it has not stopped, be it held by a pause or broken already."""
        return self.stopped is None

    def warnings(self) -> list[tuple[int, datetime]]:
        """Shares of the budget and when each is reached, none after the stop."""
        found = self.result.warnings()
        return [(percent, at) for percent, at in found if self.stopped is None or at <= self.stopped]

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The object of `dozor clock --json --at`, with the ticket's side of it and the same in words."""
        result, zone = self.result, self.result.rule.zone
        at = instant(now if self.stopped is None else min(now, self.stopped))
        found = result.as_json(at)
        for interval, (span, said) in zip(found["intervals"], span_texts(result, whole=True), strict=True):
            held = self._held_by(interval["from"]) if interval.get("why") == PAUSED else ""
            interval["span"], interval["text"] = span, f"{said}, {held}" if held else said
        return found | {
            "cycle": self.number,
            "verdict": str(self.verdict),
            "stopped": None if self.stopped is None else zone.iso(instant(self.stopped)),
            # One that was stored comes back in UTC: it reads as on the day when it was told.
            "breaches": [{**breach.as_json(), "due": zone.iso(instant(breach.due))} for breach in self.breaches],
            "texts": {
                "rule": rule_text(result.rule),
                "start": moment_text(zone, result.start_at, whole=True),
                "due": due_texts(result, whole=True),
                "stand": stand_text(result, at, whole=True),
                "stopped": None if self.stopped is None else moment_text(zone, instant(self.stopped), whole=True),
            },
        }

    def _held_by(self, begin: str) -> str:
        at = instant(datetime.fromisoformat(begin))
        found = [wait for wait in self.waits if wait.begin <= at and (wait.end is None or at < wait.end)]
        return ", ".join(dict.fromkeys(_HELD_BY.get(wait.state, wait.state) for wait in found))


@dataclass(frozen=True, eq=False)
class TicketClock:
    """A ticket's clock over its whole life, as known at one instant; `problem` says why there is no due time."""

    rule: Rule
    started: datetime
    stands: tuple[Stand, ...]
    problem: str = ""

    @property
    def name(self) -> str:
        """What the policy calls it now."""
        return self.rule.clock

    @property
    def due(self) -> datetime | None:
        """When the cycle that counts now is due, in UTC; None while a pause holds it, or nobody knows."""
        due = self.stands[-1].result.due if self.stands else None
        return None if due is None else due.astimezone(UTC)

    @property
    def verdict(self) -> str:
        """The current cycle's verdict, or `unknown` where there is no due time."""
        return str(self.stands[-1].verdict) if self.stands else UNKNOWN

    @property
    def runs(self) -> bool:
        """Whether the current cycle has not stopped, be it held by a pause or broken already."""
        return bool(self.stands) and self.stands[-1].stopped is None

    def next_check(self, now: datetime) -> datetime | None:
        """The next instant at which there may be something to tell, if nobody does anything until then."""
        if not self.runs:
            return None
        stand = self.stands[-1]
        moments = [at for _, at in stand.warnings()]
        if (due := stand.result.due) is not None:
            moments.append(due if stand.result.rule.fires is Fires.AT else due + TICK)
        return min((at for at in moments if at > now), default=None)

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The current cycle, with those before it under `earlier`."""
        if not self.stands:
            zone = self.rule.zone
            return {
                "policy": self.rule.policy,
                "clock": self.rule.clock,
                "start": zone.iso(instant(self.started)),
                "due": None,
                **self.rule.header,
                "intervals": [],
                "cycle": 1,
                "verdict": UNKNOWN,
                "stopped": None,
                "breaches": [],
                "problem": self.problem,
                "texts": {
                    "rule": rule_text(self.rule),
                    "start": moment_text(zone, instant(self.started), whole=True),
                    "due": [f"not known. {self.problem}"],
                    "stand": "",
                    "stopped": None,
                },
                "earlier": [],
            }
        *earlier, current = (stand.as_json(now) for stand in self.stands)
        return {**current, "earlier": earlier}
