"""What a script has made: its refs, and what the store calls them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ticketing.core.errors import NotFoundError
from ticketing.tickets.facts import DESK, Actor


@dataclass
class Book:
    """Refs by name; a ticket's ref is known by its row as well."""

    ids: dict[tuple[str, str], int] = field(default_factory=dict)  # (kind, ref) -> row
    actors: dict[str, Actor] = field(default_factory=dict)
    tickets: dict[str, int] = field(default_factory=dict)  # ref -> row
    called: dict[int, str] = field(default_factory=dict)  # row -> the first ref
    mails: dict[str, int] = field(default_factory=dict)  # ref -> row of the inbox

    def keep(self, kind: str, ref: str | None, row: int) -> None:
        """`ref` names this row from now on."""
        if ref is None:
            return
        if kind == "ticket":
            self.tickets[ref] = row
            self.called.setdefault(row, ref)
        else:
            self.ids[kind, ref] = row

    def row(self, kind: str, ref: Any) -> int:
        """The row that `ref` names; a number stands for itself.

        Raises
        ------
        NotFoundError
        """
        if isinstance(ref, int):
            return ref
        found = self.tickets.get(ref) if kind == "ticket" else self.ids.get((kind, ref))
        if found is None:
            raise NotFoundError(f"no {kind} {ref!r}")
        return found

    def actor(self, ref: str | None) -> Actor:
        """Who acts: the desk itself without a name.

        Raises
        ------
        NotFoundError
        """
        if ref is None:
            return DESK
        if ref not in self.actors:
            raise NotFoundError(f"{ref!r} is neither a user nor a contact")
        return self.actors[ref]
