"""What can be decided about a finding or an incident, why, and what is looked at for it: words, no rules.

Everything is plain data and every instant Unix seconds, so that a rule decides the same over a database, under a row's
lock, and over a month that never happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ticketing.model.kinds import STORM
from ticketing.model.states import State


class Step(StrEnum):
    """What is to be done."""

    OPEN = "open"  # an incident with a ticket of its own
    ATTACH = "attach"  # an incident under one of many terminals, which has the ticket
    RELAPSE = "relapse"  # the incident of before again, under its old number
    DETACH = "detach"  # a member leaves its group for a ticket of its own
    RECOVER = "recover"  # the incident is over
    STANDING = "standing"  # nothing: it is as it should be
    STALE = "stale"  # nothing: the finding is overtaken
    HOLD = "hold"  # not now


class Reason(StrEnum):
    """Why; each belongs to the step named beside it."""

    FIRST = "first"  # open: nothing is known of this terminal and kind that it could belong to
    RATE = "rate"  # attach: more came within a minute than may have tickets of their own
    REJOINED = "rejoined"  # attach: it was a member of this group, which is still open
    AGAIN = "again"  # relapse: its ticket awaits consent, or was closed lately
    CALM = "calm"  # detach: the group is over, and this one is left
    STAYED = "stayed"  # detach: those it fell silent with are heard again, and it has had its time
    PROVEN = "proven"  # recover: good for long enough, in live records
    LEFT = "left"  # recover: a member is good; its group stays
    ALL_GOOD = "all_good"  # recover: a group without members
    OPEN_ALREADY = "open_already"  # standing
    SHARED = "shared"  # standing: its group has a cause in common, and is silent still
    NOTHING_OPEN = "nothing_open"  # standing
    GROWING = "growing"  # standing: somebody joined the group within the last minute
    MANY_BAD = "many_bad"  # standing: too many members fail for the group to be over
    NO_ROOM = "no_room"  # standing: the group is over, but this minute has had its tickets
    SEEN_GOOD = "seen_good"  # stale: its recovery was seen after the time that the finding judges
    OVERTAKEN = "overtaken"  # stale: what was asked last, under the lock, said otherwise
    DEAF = "deaf"  # hold: the gateway does not trust its own ears
    RECONNECTING = "reconnecting"  # hold: the gateway was away, and terminals are coming back
    FORMING = "forming"  # hold: many it has something in common with are silent too, and it may be one of them
    REFUSED = "refused"  # hold: the store refused this one a moment ago


@dataclass(frozen=True, slots=True)
class Decision:
    """A step and its reason.

    Attributes
    ----------
    parent : the group's incident, where one is concerned; None for an `ATTACH` to a storm that is yet to be opened.
    storm : what becomes of the storm that an `ATTACH` needs: OPEN, RELAPSE or STANDING.
    count : of a `DETACH` decided about a group: how many of its members have room now.
    """

    step: Step
    reason: Reason
    parent: int | None = None
    storm: Step = Step.STANDING
    count: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """The latest incident of one terminal and kind.

    `good_until`: until when its recovery was seen; -inf if never. A member has a `parent`, which is of `parent_kind`
    and open or not, and no ticket of its own: its `ticket_state` is None. `ticket_closed_at` is None while the ticket
    is not closed.
    """

    open: bool
    flaps: int = 0
    good_until: float = float("-inf")
    parent: int | None = None
    ticket_state: State | None = None
    ticket_closed_at: float | None = None
    parent_kind: str = STORM
    parent_open: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """The latest incident of many terminals, open or not, with its ticket's state."""

    id: int
    open: bool
    ticket_state: State


@dataclass(frozen=True, slots=True)
class Members:
    """A group's: how many fail now, how many joined since it was (re)opened, and when the last of them did."""

    failing: int
    joined: int
    joined_at: float


@dataclass(frozen=True, slots=True)
class Limiter:
    """Tickets a minute: `recent` findings that asked for one in the minute before; `per_minute` 0: no limit."""

    per_minute: int
    recent: int = 0

    @property
    def room(self) -> int | None:
        """How many more may have one now; None: any number."""
        return None if self.per_minute == 0 else max(0, self.per_minute - self.recent)


@dataclass(frozen=True, slots=True)
class View:
    """What is known when a finding is judged; `members` are those of the open group that it is in, if it is."""

    limiter: Limiter
    known: Known | None = None
    storm: Group | None = None
    members: Members | None = None
