"""What an action may be told, and what each needs of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from ticketing.core.errors import Problem, WrongInputError
from ticketing.kit.body import checked
from ticketing.model.states import Action

Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Items = Annotated[list[Text], msgspec.Meta(max_length=50)]


class FileIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attachment as JSON carries it; `content` is base64."""

    name: Annotated[str, msgspec.Meta(max_length=255)]
    content: Annotated[str, msgspec.Meta(max_length=16_000_000)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an action: all keys that any of them takes. Unknown ones are refused by name."""

    text: Text | None = None
    attachments: Annotated[list[FileIn], msgspec.Meta(max_length=20)] = []
    owner: Word | None = None
    team: Word | None = None
    tier: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    reason: Text | None = None
    class_: Literal["network", "hardware", "software", "consulting"] | None = msgspec.field(name="class", default=None)
    topic: Literal["technical", "finance", "warranty", "letter", "call-back"] | None = None
    component: Word | None = None
    priority: Annotated[int, msgspec.Meta(ge=1, le=9)] | None = None
    jump: bool | None = None
    items: Items | dict[str, Text] | None = None
    eta: datetime | None = None
    basis: Literal["history", "vendor", "plan"] | None = None
    system: Word | None = None
    case: Word | None = None
    check: Word | None = None
    kit: Word | None = None
    task: int | None = None
    outcome: Text | None = None
    code: Literal["not_reproducible", "no_data", "misuse", "out_of_scope"] | None = None
    until: datetime | None = None
    proof: Text | int | None = None
    cause: Text | None = None
    workaround: Text | None = None
    by: Word | None = None
    means: Literal["button", "mail", "phone"] | None = None
    into: Word | None = None
    messages: Annotated[list[int], msgspec.Meta(max_length=500)] | None = None
    subject: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    to: Word | None = None
    kind: Literal["parent", "duplicate", "split-from", "follow-up"] | None = None
    crew: Word | None = None
    site: Word | None = None
    slot: dict[str, datetime] | None = None
    label: Word | None = None
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)] | None = None
    permission: int | None = None
    known_error: int | None = None
    symptom: Text | None = None
    link: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    public: bool | None = None


class Entrusted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Access data; without `until` they are kept three days."""

    label: Word
    secret: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    until: datetime | None = None


def read_fields(fields: dict[str, str]) -> Body:
    """The same from a page's form; what is left empty is not said, a list has one item a line.

    Raises
    ------
    WrongInputError
    """
    said: dict[str, object] = {name: value for name, value in fields.items() if value.strip()}
    for name in ("items", "messages"):
        if name in said:
            said[name] = [line.strip() for line in str(said[name]).splitlines() if line.strip()]
    if slot := {end: said.pop(f"slot_{end}") for end in ("from", "to") if f"slot_{end}" in said}:
        said["slot"] = slot
    return checked(said, Body, strict=False)


def needed(body: Body, *names: str) -> None:
    """Refuse a body that lacks one of `names`, each by name.

    Raises
    ------
    WrongInputError
    """
    lacking = [name for name in names if getattr(body, name) in (None, "", [], {})]
    if lacking:
        raise WrongInputError(*(Problem(name.rstrip("_"), "is missing", "say it") for name in lacking))


def said(action: Action, body: Body, text: str, *, client: bool) -> None:
    """What must be said whatever the ticket's state is: something asked; whose consent it is, unless it is their own.

    Raises
    ------
    WrongInputError
    """
    if body.cause is not None and action not in (Action.CLOSE, Action.FIX, Action.LEARN):
        raise WrongInputError(
            Problem("cause", f"{action} takes none", "leave it out: it is of close, fix and learn alone")
        )
    if action == Action.ASK and not (text or body.items):
        raise WrongInputError(Problem("items", "ask needs a text, or items", "list what is to be answered"))
    if action == Action.CONSENT and not (client or body.by or body.means or text):
        raise WrongInputError(
            Problem("text", "consent needs a text", "say whose word it was, or give `by` and `means`")
        )


def ahead(name: str, value: datetime | None, at: datetime) -> datetime:
    """An instant that lies ahead, with a zone.

    Raises
    ------
    WrongInputError
    """
    if value is None or value.tzinfo is None:
        raise WrongInputError(Problem(name, "no instant with its offset", "write 2026-03-02T08:00:00+03:00"))
    if value <= at:
        raise WrongInputError(Problem(name, "is not in the future", "give a later instant"))
    return value
