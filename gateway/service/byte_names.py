"""The named bytes of a stream, shown as its events are: each unit before what came of it."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.service.decode_print import Printer
from protocols.anatomy import Unit, placed
from protocols.records import Event, Frame, Login, Malformed, Message, Reply


class ByteNames:
    """Units of `data` in order, the first `skipped` bytes left out; of nothing, where bytes are not to be named."""

    def __init__(self, data: bytes = b"", units: Iterable[Unit] = (), skipped: int = 0) -> None:
        self._data = data
        self._units = ((at, unit) for at, unit in placed(units) if at >= skipped)
        self._first = next(self._units, None)  # of what is not shown yet
        self._owed = False  # the next reply is to what has been shown

    def before(self, event: Event, printer: Printer, base: int) -> None:
        """Show what `event` came of; `base` is added to offsets."""
        owed, self._owed = self._owed, isinstance(event, Login | Malformed)
        if isinstance(event, Frame | Message | Malformed):
            while self._first and self._first[0] <= event.offset:
                self._show(*self._first, printer, base)
        elif isinstance(event, Login):  # the first that is said
            while self._first and self._show(*self._first, printer, base) == "idle":
                pass
        elif isinstance(event, Reply) and not owed:  # to something that asks for no more than that
            while self._first and self._first[1].kind in ("idle", "request"):
                if self._show(*self._first, printer, base) == "request":
                    break

    def rest(self, printer: Printer, base: int) -> None:
        """Show what no event came of."""
        while self._first:
            self._show(*self._first, printer, base)

    def _show(self, at: int, unit: Unit, printer: Printer, base: int) -> str:
        for span in unit.spans:
            printer.field(base + at, self._data[at : at + span.size], span.name, span.value)
            at += span.size
        self._first = next(self._units, None)
        return unit.kind
