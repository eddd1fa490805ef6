"""What terminals have in common: by each dimension one is in one group, or in none where nobody told its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.gaps import Rows

Counts: TypeAlias = NDArray[np.int64]

# Dimension -> what a group of it is called by. Of explanations that are as good as one another the first is taken: what
# fails as a whole most often, and does not merely go along with it.
DIMENSIONS: Mapping[str, str] = {
    "operator": "operator",
    "plmn": "operator",  # as the wire tells it: MCC and MNC, 25001
    "site": "site",
    "customer": "customer",
    "address": "address",  # the narrow range
    "network": "address",  # the wide one
    "region": "region",
    "firmware": "firmware",  # model and version
    "model": "model",
    "port": "listener",  # protocol and port, of the last connection
    "protocol": "protocol",  # known also where no connection is
    "fleet": "fleet",
}
OURS = frozenset({"port", "protocol", "fleet"})  # dimensions that are gone as a whole if we do not listen
KINDS = frozenset({"firmware", "model"})  # what terminals are, not where: its parts have nothing that fails at once
NONE = 0  # no group
MOST = 50_000  # values of a dimension: whoever invents them is no group
_NAMES = tuple(DIMENSIONS)


class Groups:
    """All groups there are, and who is in them. What is beyond `MOST` values of a dimension is in no group."""

    def __init__(self) -> None:
        self._in = np.zeros((len(_NAMES), 0), np.int32)  # by dimension: the group that each terminal is in
        self._ids: list[dict[str, int]] = [{} for _ in _NAMES]
        self._names: list[tuple[int, str]] = [(-1, "")]
        self._all = self._group(_NAMES.index("fleet"), "all")

    def __len__(self) -> int:
        """Groups, with the one that is none."""
        return len(self._names)

    def reserve(self, rows: int) -> None:
        """Make room for terminals up to `rows - 1`."""
        have = self._in.shape[1]
        if rows > have:
            more = np.zeros((len(_NAMES), max(rows, 2 * have) - have), np.int32)
            more[_NAMES.index("fleet")] = self._all
            self._in = np.concatenate([self._in, more], axis=1)

    def place(self, rows: Sequence[int], told: Mapping[str, Iterable[str | None]]) -> None:
        """Say of terminals what they share, by dimension; dimensions that are not named stay as they are."""
        if not len(rows):
            return
        self.reserve(max(rows) + 1)
        at = np.asarray(rows, np.int64)
        for name, values in told.items():
            place = _NAMES.index(name)
            known = self._ids[place]
            its = [known.get(value) or self._group(place, value) if value else NONE for value in values]
            self._in[place, at] = its

    def count(self, rows: Rows, dimensions: Iterable[int] = range(len(_NAMES)), into: Counts | None = None) -> Counts:
        """How many of these terminals are in each group, shape (groups,).

        Only groups of these dimensions are counted; those of others are as they are in `into`.
        """
        counted = np.zeros(len(self), np.int64)
        if into is not None:
            counted[: len(into)] = into
        for place in dimensions:
            by_group = np.bincount(self._in[place, rows])
            counted[list(self._ids[place].values())] = 0
            counted[: len(by_group)] += by_group
        counted[NONE] = 0
        return counted

    def members(self, group: int, rows: Rows) -> NDArray[np.bool_]:
        """Which of these terminals are in the group."""
        inside: NDArray[np.bool_] = self._in[self._names[group][0], rows] == group
        return inside

    def of(self, row: int) -> list[int]:
        """The groups that a terminal is in."""
        if row >= self._in.shape[1]:
            return []
        return [group for group in self._in[:, row].tolist() if group != NONE]

    def find(self, by: str, value: str) -> int:
        """A group by its name; it is made if it was not there."""
        places = [place for place, name in enumerate(_NAMES) if DIMENSIONS[name] == by]
        found = (self._ids[place].get(value) for place in places)
        known = next((group for group in found if group is not None), NONE)
        return known or self._group(places[-1] if by == "operator" and value.isdecimal() else places[0], value)

    def dimension(self, group: int) -> str:
        """The dimension that a group belongs to."""
        return _NAMES[self._names[group][0]]

    def order(self, group: int) -> int:
        """Which of two explanations that are as good is taken: the smaller."""
        return self._names[group][0]

    def name(self, group: int) -> tuple[str, str]:
        """What a group is called by, and its value."""
        return DIMENSIONS[self.dimension(group)], self._names[group][1]

    def _group(self, place: int, value: str) -> int:
        ids = self._ids[place]
        found = ids.get(value)
        if found is None:
            if len(ids) >= MOST:
                return NONE
            found = ids[value] = len(self._names)
            self._names.append((place, str(value)))
        return found


def address_ranges(address: str) -> tuple[str | None, str | None]:
    """The narrow and the wide range that an address lies in: /24 and /16, of IPv6 /48 and /32; None: it is none."""
    try:
        host = ip_address(address.strip("[]"))
    except ValueError:
        return None, None
    narrow, wide = (24, 16) if host.version == 4 else (48, 32)
    return str(ip_network((host, narrow), strict=False)), str(ip_network((host, wide), strict=False))
