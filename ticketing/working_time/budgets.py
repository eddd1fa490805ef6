"""What a clock promises: how much, in which kind of time, and when it counts as broken."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import MINUTE

WARN_AT = (50, 75, 100)
"""Percent of a budget at which the desk warns, unless a policy says otherwise."""

_BUDGET = re.compile(r"(\d{1,9})\s?(m|min|h|d)")
_UNIT_MINUTES = {"m": 1, "min": 1, "h": 60}


class Kind(StrEnum):
    WORKING = "working"
    REAL = "real"
    WORKING_DAYS = "working-days"


class Fires(StrEnum):
    AFTER = "after"  # an event at the due instant is still in time
    AT = "at"  # what is promised exists at the due instant


@dataclass(frozen=True, slots=True)
class Budget:
    """`amount` is microseconds for working and real clocks, days for working-days clocks."""

    kind: Kind
    amount: int

    @classmethod
    def parse(cls, text: str, kind: Kind, field: str = "budget") -> Budget:
        """Read `90m`, `8h` or, for working-days clocks, `5d`."""
        match = _BUDGET.fullmatch(text.strip())
        wanted = "5d" if kind is Kind.WORKING_DAYS else "90m or 8h"
        if match is None:
            raise ClockInputError(
                field, f"{text!r} is no budget", f"Write a whole number with its unit, as in {wanted}"
            )
        number, unit = int(match[1]), match[2]
        if (unit == "d") is not (kind is Kind.WORKING_DAYS):
            raise ClockInputError(field, f"{text!r} has the wrong unit for a {kind} clock", f"Write it as in {wanted}")
        if number == 0:
            raise ClockInputError(field, f"{text!r} is not above zero", f"Write it as in {wanted}")
        return cls(kind, number if unit == "d" else number * _UNIT_MINUTES[unit] * MINUTE)

    def as_json(self) -> dict[str, Any]:
        if self.kind is Kind.WORKING_DAYS:
            return {"kind": str(self.kind), "days": self.amount}
        return {"kind": str(self.kind), "minutes": minutes(self.amount)}


def minutes(amount: int) -> int | float:
    """Microseconds as minutes: whole where they are whole."""
    whole, rest = divmod(amount, MINUTE)
    return amount / MINUTE if rest else whole
