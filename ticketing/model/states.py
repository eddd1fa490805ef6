"""A ticket's states, and which action leads from which to which: one table, for the desk, the documents and the tests.

What an action needs besides its state stands in `ticketing.model.guards`; what time and the watch do is here as well,
told apart by who may: nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ticketing.core.errors import ConflictError

WATCH = "watch"  # the actor of what no person did


class State(StrEnum):
    """States of a ticket, as in the API."""

    NEW = "new"
    IN_WORK = "in_work"
    WAITING_CLIENT = "waiting_client"
    WAITING_VENDOR = "waiting_vendor"
    VISIT = "visit"
    DEFERRED = "deferred"
    RECOVERING = "recovering"
    AWAITING_CONSENT = "awaiting_consent"
    CLOSED = "closed"


class Action(StrEnum):
    """What can happen to a ticket, by people, by time and by the watch."""

    TAKE = "take"
    ASSIGN = "assign"
    ESCALATE = "escalate"
    QUALIFY = "qualify"
    NOTE = "note"
    REPLY = "reply"
    ASK = "ask"
    ANSWER = "answer"
    ETA = "eta"
    VENDOR = "vendor"
    VENDOR_DONE = "vendor-done"
    WAIVE = "waive"
    TASK_DONE = "task-done"
    DEFER = "defer"
    RESUME = "resume"
    VISIT = "visit"
    VISIT_CONFIRMED = "visit-confirmed"
    VISIT_DONE = "visit-done"
    VISIT_CANCELLED = "visit-cancelled"
    FIX = "fix"
    CONSENT = "consent"
    DISPUTE = "dispute"
    CLOSE = "close"
    REOPEN = "reopen"
    WITHDRAW = "withdraw"
    MERGE = "merge"
    SPLIT = "split"
    LINK = "link"
    PERMIT = "permit"  # the client allows work from afar, until an instant
    REVOKE = "revoke"  # and does no more
    COMMAND = "command"  # to the ticket's terminal
    ENTRUST = "entrust"  # credentials, kept sealed
    READ = "read"  # a known error, for this ticket
    HELPED = "helped"  # and it was of help
    LEARN = "learn"  # a known error is made of it

    OPENED = "opened"
    MESSAGE = "message"  # somebody wrote or called, and no state changed
    RECOVERING = "recovering"  # the first live record
    RECOVERED = "recovered"
    RELAPSED = "relapsed"
    WARNED = "warned"  # a share of a clock's budget is used up
    BREACHED = "breached"  # a clock's promise is broken
    STOPPED = "stopped"  # a clock came to its end
    CHANGED = "changed"  # what the ticket means: its terminal was back and is gone again, or it lasts twice too long
    DETACHED = "detached"  # of a ticket about many: one of them has a ticket of its own now
    LETTER = "letter"  # one is owed, or nobody could be told
    REMINDED = "reminded"
    ESCALATED = "escalated"  # a ladder's step
    ETA_PASSED = "eta-passed"
    RECHECK = "recheck"  # a deferral's date has come
    DEEMED = "deemed"  # the contract takes silence for consent
    TASK = "task"
    CHECKED = "checked"  # a pre-check
    SECRET_SEEN = "secret-read"  # noqa: S105 - somebody looked at what the client entrusted
    SECRET_GONE = "secret-erased"  # noqa: S105 - its time, or the ticket's, is over
    RELOAD_ASKED = "reload-asked"  # an archive is to be asked of its terminal again
    RELOAD_BEGUN = "reload-begun"
    RELOAD_PUT_OFF = "reload-put-off"  # to the next night
    RELOAD_ENDED = "reload-ended"
    RECORDED = "recording-added"
    HEARD = "recording-heard"
    UNRECORDED = "recording-erased"  # its time is over


OPEN = tuple(state for state in State if state != State.CLOSED)
WAITING = frozenset({State.WAITING_CLIENT, State.WAITING_VENDOR, State.DEFERRED})
AT_WORK = (State.NEW, State.IN_WORK)

STAFF = frozenset({"admin", "manager", "engineer"})
TALKERS = STAFF | {"crew", "client"}


def _stay(*states: State) -> dict[State, State]:
    return {state: state for state in states}


def _lead(to: State, *states: State) -> dict[State, State]:
    return dict.fromkeys(states, to)


@dataclass(frozen=True)
class Move:
    """One row of the table.

    Attributes
    ----------
    leads : state before -> state after; what is missing is a conflict.
    roles : whose action it is; empty: nobody's, time's or the watch's.
    text : whether the action needs one.
    events : what it is for clocks, as policy files say it.
    visible : the client sees it: the first such action is the reaction.
    letter : the kind of letter that it sends to the client by itself.
    """

    leads: Mapping[State, State]
    roles: frozenset[str] = frozenset()
    text: bool = False
    events: tuple[str, ...] = ()
    visible: bool = False
    letter: str = ""


MOVES: dict[Action, Move] = {
    Action.TAKE: Move(
        _stay(*OPEN) | {State.NEW: State.IN_WORK, State.WAITING_CLIENT: State.IN_WORK}, STAFF, visible=True
    ),
    Action.ASSIGN: Move(_stay(*OPEN), STAFF),
    Action.ESCALATE: Move(_stay(*OPEN), STAFF),
    Action.QUALIFY: Move(_stay(*OPEN), STAFF),
    Action.NOTE: Move(_stay(*State), TALKERS, text=True),
    Action.REPLY: Move(
        _stay(*OPEN) | {State.NEW: State.IN_WORK}, STAFF, text=True, events=("public-message",), visible=True,
        letter="reply",
    ),
    Action.ASK: Move(
        _lead(State.WAITING_CLIENT, State.NEW, State.IN_WORK, State.WAITING_CLIENT), STAFF,
        events=("public-message",), visible=True, letter="question",
    ),
    Action.ANSWER: Move({State.WAITING_CLIENT: State.IN_WORK}, TALKERS),
    Action.ETA: Move(
        _stay(*OPEN) | {State.NEW: State.IN_WORK}, STAFF, events=("public-message",), visible=True, letter="eta"
    ),
    Action.VENDOR: Move(
        _lead(State.WAITING_VENDOR, State.NEW, State.IN_WORK), STAFF, events=(), visible=True, letter="progress"
    ),
    Action.VENDOR_DONE: Move({State.WAITING_VENDOR: State.IN_WORK}, STAFF),
    Action.WAIVE: Move(_stay(*OPEN), STAFF),
    Action.TASK_DONE: Move(_stay(*State), STAFF | {"crew"}),
    Action.DEFER: Move(
        _lead(State.DEFERRED, State.NEW, State.IN_WORK, State.WAITING_CLIENT, State.WAITING_VENDOR), STAFF,
        events=("public-message",), visible=True, letter="deferral",
    ),
    Action.RESUME: Move(
        {State.DEFERRED: State.IN_WORK, State.WAITING_CLIENT: State.IN_WORK, State.WAITING_VENDOR: State.IN_WORK},
        STAFF,
    ),
    Action.VISIT: Move(
        _lead(State.VISIT, State.NEW, State.IN_WORK, State.WAITING_VENDOR), STAFF, events=("visit-needed",),
        visible=True, letter="progress",
    ),
    Action.VISIT_CONFIRMED: Move({State.VISIT: State.VISIT}, STAFF | {"crew"}, events=("visit-agreed",)),
    Action.VISIT_DONE: Move({State.VISIT: State.IN_WORK}, STAFF | {"crew"}),
    Action.VISIT_CANCELLED: Move({State.VISIT: State.IN_WORK}, STAFF | {"crew"}),
    Action.FIX: Move(
        _lead(State.AWAITING_CONSENT, State.NEW, State.IN_WORK, State.VISIT, State.WAITING_VENDOR, State.RECOVERING),
        STAFF, text=True, events=("fault-fixed", "service-restored"), visible=True,
    ),
    Action.CONSENT: Move(_stay(State.AWAITING_CONSENT), STAFF | {"client"}, visible=True),
    Action.DISPUTE: Move(
        {State.AWAITING_CONSENT: State.IN_WORK, State.RECOVERING: State.IN_WORK}, STAFF | {"client"}
    ),
    Action.CLOSE: Move({State.AWAITING_CONSENT: State.CLOSED}, STAFF, visible=True, events=("ticket-closed",)),
    Action.REOPEN: Move({State.CLOSED: State.IN_WORK}, STAFF | {"client"}, text=True, events=("reopened",)),
    Action.WITHDRAW: Move(_lead(State.CLOSED, *OPEN), STAFF | {"client"}, events=("ticket-closed",)),
    Action.MERGE: Move(_lead(State.CLOSED, *OPEN), STAFF, events=("merged",)),
    Action.SPLIT: Move(_stay(*State), STAFF),
    Action.LINK: Move(_stay(*State), STAFF),
    Action.PERMIT: Move(_stay(*OPEN), STAFF | {"client"}),
    Action.REVOKE: Move(_stay(*OPEN), STAFF | {"client"}),
    Action.COMMAND: Move(_stay(*OPEN), frozenset({"admin", "engineer"}), text=True),
    Action.ENTRUST: Move(_stay(*OPEN), STAFF | {"client"}),
    Action.READ: Move(_stay(*State), STAFF),
    Action.HELPED: Move(_stay(*State), STAFF),
    Action.LEARN: Move(_stay(State.CLOSED), STAFF),
    Action.OPENED: Move({}),
    Action.MESSAGE: Move(_stay(*State)),
    Action.RECOVERING: Move(
        _lead(
            State.RECOVERING, State.NEW, State.IN_WORK, State.WAITING_CLIENT, State.WAITING_VENDOR, State.DEFERRED,
            State.VISIT,
        )
    ),
    Action.RECOVERED: Move(
        _lead(
            State.AWAITING_CONSENT, State.NEW, State.IN_WORK, State.WAITING_CLIENT, State.WAITING_VENDOR,
            State.DEFERRED, State.VISIT, State.RECOVERING,
        ),
        events=("fault-fixed", "service-restored"),
    ),
    Action.RELAPSED: Move(
        _lead(State.IN_WORK, State.RECOVERING, State.AWAITING_CONSENT, State.CLOSED), events=("relapsed",)
    ),
    Action.DEEMED: Move({State.AWAITING_CONSENT: State.CLOSED}, events=("ticket-closed",)),
    Action.RECHECK: Move({State.DEFERRED: State.IN_WORK}),
    **{
        action: Move(_stay(*State))
        for action in (
            Action.WARNED, Action.BREACHED, Action.STOPPED, Action.CHANGED, Action.DETACHED, Action.LETTER,
            Action.REMINDED, Action.ESCALATED, Action.ETA_PASSED, Action.TASK, Action.CHECKED,
            Action.SECRET_SEEN, Action.SECRET_GONE, Action.RELOAD_ASKED, Action.RELOAD_BEGUN, Action.RELOAD_PUT_OFF,
            Action.RELOAD_ENDED, Action.RECORDED, Action.HEARD, Action.UNRECORDED,
        )
    },
}  # fmt: skip

FIELD = (Action.VISIT_CONFIRMED, Action.VISIT_DONE, Action.VISIT_CANCELLED)  # by a visit's own routes
PEOPLE = tuple(action for action, move in MOVES.items() if move.roles and action not in FIELD)
CAUSES = ("fault", "normal")  # what a closed ticket was about; the watch learns from it
REASONS = ("spam", "duplicate", "scrapped", "withdrawn", "explained")  # of a withdrawal


def events_of(action: Action) -> tuple[str, ...]:
    """What an action is for clocks: its own events, and a reaction where the client sees it."""
    move = MOVES[action]
    return (*move.events, *(("human-action",) if move.visible else ()))


def next_state(state: State, action: Action, *, consented: bool = True) -> State:
    """The state that `action` leads to.

    Raises
    ------
    ConflictError
        If the table has no such step, or a ticket is to be closed without consent.
    """
    after = MOVES[action].leads.get(state)
    if after is None:
        raise ConflictError(f"{action} is not possible while the ticket is {state}")
    if action == Action.CLOSE and not consented:
        raise ConflictError("close needs the client's consent on record")
    return after


def relapsed_to(state: State, *, taken: bool) -> State:
    """Where a relapse leads: to whom it was taken by, or to the queue where nobody had taken it.

    A ticket that neither recovers, awaits consent nor is closed stays as it is.
    """
    after = MOVES[Action.RELAPSED].leads.get(state)
    if after is None:
        return state
    return after if taken else State.NEW
