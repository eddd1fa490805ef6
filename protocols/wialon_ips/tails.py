"""Fields 11 to 16 of many messages at once, by learned patterns.

A terminal repeats the form of its tail and changes the numbers. What is left of a tail without its digits is
therefore a good guess at the form; a form that came often enough is learnt as a pattern whose literals are the
names, types and separators, so that one search reads every value and proves every separator. Parameters are
grouped by that guess only: the pattern decides.

Bounds: a pattern costs some fifty plain parses to make, so it is made after `_WORTH` messages of its form; no
more than `_MAX_FORMS` are kept, so that names invented by a stranger cannot fill the memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.records import MeasureGroup
from protocols.wialon_ips.declaration import FieldError, read_measures, told
from protocols.wialon_ips.wire import MAX_TEXT

Rows = NDArray[np.intp]

# Not in the form: digits, and the letters of hexadecimal driver keys.
_NOT_FORM = b"0123456789.-+ABCDEF"
_WORTH = 48
_MAX_FORMS = 1024
_MAX_PATTERNS = 8  # of one form: names that differ in digits only

_UNSIGNED = r"([0-9]{1,200}(?:\.[0-9]*+)?)"
_SIGNED = r"(-?[0-9]{1,200}(?:\.[0-9]*+)?)"
_INTEGER = r"(-?[0-9]{1,15})"
_MASK = r"([0-9]{1,15})"
_KEY = r"(?!NA;)([^;\n]++)"
_TEXT = rf"([^,;\n]{{0,{MAX_TEXT}}}+)"


@dataclass(slots=True)
class Pattern:
    """One learnt form: `names` of its numbers in order, `texts` as (group, name)."""

    regex: re.Pattern[str]
    names: tuple[str, ...]
    numbers: list[int]
    texts: list[tuple[int, str]]


class TailReader:
    """Reads tails in groups and remembers their forms."""

    def __init__(self) -> None:
        self._patterns: dict[bytes, list[Pattern]] = {}
        self._seen: dict[bytes, int] = {}

    def read(self, tails: list[str], rows: Rows) -> tuple[list[MeasureGroup], dict[int, dict[str, Any]], list[int]]:
        """Measures of `tails`, which belong to `rows`; texts by row; and the rows left to the plain parser."""
        groups: list[MeasureGroup] = []
        extra: dict[int, dict[str, Any]] = {}
        failed: list[int] = []
        for form, which in self._by_form(tails):
            mine = tails if which is None else [tails[i] for i in which]
            at = rows if which is None else rows[which]
            for pattern in self._patterns.get(form, ()):
                mine, at = self._apply(pattern, mine, at, groups, extra)
                if not mine:
                    break
            else:
                learnt = self._study(form, mine)
                if learnt is not None:
                    mine, at = self._apply(learnt, mine, at, groups, extra)
            failed += at.tolist()
        return groups, extra, failed

    def _by_form(self, tails: list[str]) -> list[tuple[bytes, list[int] | None]]:
        """Tails by what is left of them without digits; None stands for all of them."""
        if not tails:
            return []
        forms = "\n".join(tails).encode().translate(None, _NOT_FORM).split(b"\n")
        if forms.count(forms[0]) == len(forms):
            return [(forms[0], None)]
        groups: dict[bytes, list[int]] = {}
        for index, form in enumerate(forms):
            if form in groups:
                groups[form].append(index)
            else:
                groups[form] = [index]
        return list(groups.items())

    def _study(self, form: bytes, strange: list[str]) -> Pattern | None:
        """A new pattern when enough tails of a form have fitted none."""
        seen = self._seen.get(form, 0) + len(strange)
        if len(self._seen) >= _MAX_FORMS:
            self._seen.clear()
        self._seen[form] = seen
        patterns = self._patterns.get(form, [])
        if seen < _WORTH or len(patterns) >= _MAX_PATTERNS:
            return None
        self._seen[form] = 0
        pattern = learn(strange[0])
        if pattern is not None:
            if len(self._patterns) >= _MAX_FORMS:
                self._patterns.clear()
            self._patterns[form] = [*patterns, pattern]
        return pattern

    def _apply(
        self,
        pattern: Pattern,
        tails: list[str],
        rows: Rows,
        groups: list[MeasureGroup],
        extra: dict[int, dict[str, Any]],
    ) -> tuple[list[str], Rows]:
        """Read the tails that fit; give back the others."""
        found = pattern.regex.findall("\n".join(tails))
        rest: list[str] = []
        other = rows[:0]
        if len(found) != len(tails):
            fits = [pattern.regex.fullmatch(tail) is not None for tail in tails]
            rest = [tail for tail, fit in zip(tails, fits, strict=True) if not fit]
            tails = [tail for tail, fit in zip(tails, fits, strict=True) if fit]
            mask = np.array(fits, np.bool_)
            rows, other = rows[mask], rows[~mask]
            found = pattern.regex.findall("\n".join(tails))
        if not found:
            return rest, other
        values, told_texts = _values(pattern, found)
        groups.append(MeasureGroup(pattern.names, rows, values))
        if told_texts:
            names = [name for _, name in pattern.texts]
            for row, texts in zip(rows.tolist(), zip(*told_texts, strict=True), strict=True):
                extra[row] = dict(zip(names, texts, strict=True))
        return rest, other


def _values(pattern: Pattern, found: list[Any]) -> tuple[NDArray[np.float64], list[Any]]:
    """Numbers, shape (n, k), and the text columns of what a pattern found."""
    n, k = len(found), len(pattern.names)
    groups = pattern.regex.groups
    if groups == 1:
        found = [(text,) for text in found]
    if not pattern.texts:
        flat = map(float, chain.from_iterable(found)) if k else ()
        return np.fromiter(flat, np.float64, n * k).reshape(n, k) + 0.0, []
    columns = list(zip(*found, strict=True))
    flat = map(float, chain.from_iterable([columns[i] for i in pattern.numbers]))
    values = np.fromiter(flat, np.float64, n * k).reshape(k, n).T
    return values + 0.0, [columns[i] for i, _ in pattern.texts]


def merged(groups: list[MeasureGroup]) -> list[MeasureGroup]:
    """One group per tuple of names."""
    by_names: dict[tuple[str, ...], list[MeasureGroup]] = {}
    for group in groups:
        by_names.setdefault(group.names, []).append(group)
    if len(by_names) == len(groups):
        return groups
    return [
        MeasureGroup(names, np.concatenate([g.rows for g in same]), np.concatenate([g.values for g in same]))
        for names, same in by_names.items()
    ]


def learn(tail: str) -> Pattern | None:
    """A pattern for tails like this one, None if this one is not regular enough."""
    parts = tail.split(";")
    if len(parts) != 6 or "\n" in tail:
        return None
    try:
        measures = read_measures(*parts)
    except FieldError:
        return None
    builder = _PatternBuilder()
    hdop, inputs, outputs, adc, key, params = parts
    builder.field(hdop, "hdop", _UNSIGNED)
    builder.field(inputs, "inputs", _MASK, ";")
    builder.field(outputs, "outputs", _MASK, ";")
    for number, text in enumerate(adc.split(","), 1):
        builder.field(text, f"adc.{number}", _SIGNED, ";" if number == 1 else ",")
    builder.field(key, "driver.key", _KEY, ";", text=True)
    builder.literal(";")
    if not told(params):
        builder.literal(params)
    else:
        for number, param in enumerate(params.split(",")):
            pieces = param.split(":", 2)
            name = f"param.{pieces[0]}"
            grammar = {"1": _INTEGER, "2": _SIGNED, "3": _TEXT}.get(pieces[1]) if len(pieces) == 3 else None
            if grammar is None or name not in measures:
                return None
            builder.literal("," if number else "")
            builder.literal(f"{pieces[0]}:{pieces[1]}:")
            builder.value(name, grammar, text=pieces[1] == "3")
    pattern = builder.build()
    # The plain parser has the last word: same names, all of them, and this tail fits its own pattern.
    texts = [name for _, name in pattern.texts]
    if sorted([*pattern.names, *texts]) != sorted(measures) or not pattern.regex.fullmatch(tail):
        return None
    return pattern


class _PatternBuilder:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._names: list[str] = []
        self._numbers: list[int] = []
        self._texts: list[tuple[int, str]] = []

    def literal(self, text: str) -> None:
        self._pieces.append(re.escape(text))

    def value(self, name: str, grammar: str, *, text: bool = False) -> None:
        index = len(self._names) + len(self._texts)
        self._pieces.append(grammar)
        if text:
            self._texts.append((index, name))
        else:
            self._names.append(name)
            self._numbers.append(index)

    def field(self, sample: str, name: str, grammar: str, before: str = "", *, text: bool = False) -> None:
        """A field with its separator: a value if the sample tells one, else the sample's own word for nothing."""
        self.literal(before)
        if told(sample):
            self.value(name, grammar, text=text)
        else:
            self.literal(sample)

    def build(self) -> Pattern:
        regex = re.compile("^" + "".join(self._pieces) + "$", re.MULTILINE)
        return Pattern(regex, tuple(self._names), self._numbers, self._texts)
