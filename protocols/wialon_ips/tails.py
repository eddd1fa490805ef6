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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.records import MeasureGroup
from protocols.wialon_ips.columns import exact
from protocols.wialon_ips.declaration import FieldError, read_measures, told
from protocols.wialon_ips.wire import MAX_TEXT

Rows = NDArray[np.intp]

# Not in the form: digits, and the letters of hexadecimal driver keys.
_NOT_FORM = b"0123456789.-+ABCDEF"
_WORTH = 48
_MAX_FORMS = 1024
_MAX_PATTERNS = 8  # of one form: names that differ in digits only

_DIGITS = b"0123456789"
_VALUE = r"([^,;\n]*+)"  # what a value may be; whether it is one, its grammar says
_KEY = r"(?!NA;)([^;\n]++)"


@dataclass(frozen=True, slots=True)
class Grammar:
    """How a number must be written for the fast way: the characters it is made of and their order."""

    allowed: bytes
    regex: re.Pattern[str]
    digits: int  # longest text; a whole number of 15 digits is exact in a float8


_UNSIGNED = Grammar(b"." + _DIGITS, re.compile(r"[0-9]+(?:\.[0-9]*+)?"), 200)
_SIGNED = Grammar(b"-." + _DIGITS, re.compile(r"-?[0-9]+(?:\.[0-9]*+)?"), 200)
_INTEGER = Grammar(b"-" + _DIGITS, re.compile(r"-?[0-9]{1,15}"), 15)
_MASK = Grammar(_DIGITS, re.compile(r"[0-9]{1,15}"), 15)


@dataclass(slots=True)
class Pattern:
    """One learnt form: where its numbers and texts lie among the groups of `regex`."""

    regex: re.Pattern[str]
    names: tuple[str, ...]
    numbers: list[tuple[int, Grammar]]
    texts: list[tuple[int, str]]

    def reads(self, tail: str) -> bool:
        """Whether the fast way reads this very tail."""
        found = self.regex.fullmatch(tail)
        if found is None:
            return False
        values = found.groups()
        return all(
            len(values[i]) <= grammar.digits and grammar.regex.fullmatch(values[i]) for i, grammar in self.numbers
        ) and all(len(values[i]) <= MAX_TEXT or name == "driver.key" for i, name in self.texts)


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
        rest: list[str] = []
        other = rows[:0]
        read = _read(pattern, tails)
        if read is None:
            fits = [pattern.reads(tail) for tail in tails]
            rest = [tail for tail, fit in zip(tails, fits, strict=True) if not fit]
            tails = [tail for tail, fit in zip(tails, fits, strict=True) if fit]
            mask = np.array(fits, np.bool_)
            rows, other = rows[mask], rows[~mask]
            read = _read(pattern, tails) if tails else None
            if read is None:
                return [*rest, *tails], np.concatenate([other, rows])
        values, texts = read
        groups.append(MeasureGroup(pattern.names, rows, values))
        if texts:
            extra.update(zip(rows.tolist(), texts, strict=True))
        return rest, other


def _read(pattern: Pattern, tails: list[str]) -> tuple[NDArray[np.float64], list[dict[str, Any]]] | None:
    """Numbers, shape (n, k), and texts by tail; None if any tail does not fit."""
    n = len(tails)
    found = pattern.regex.findall("\n".join(tails))
    if len(found) != n:
        return None
    groups = pattern.regex.groups
    columns: list[Sequence[str]] = [found] if groups == 1 else list(zip(*found, strict=True)) if groups else []
    values = np.empty((len(pattern.names), n))
    try:
        for j, (i, grammar) in enumerate(pattern.numbers):
            column = columns[i]
            if len(max(column, key=len)) > grammar.digits:
                return None
            values[j] = exact(column, grammar.allowed, grammar.regex)
    except ValueError:
        return None
    for i, name in pattern.texts:
        if name != "driver.key" and len(max(columns[i], key=len)) > MAX_TEXT:
            return None
    return np.ascontiguousarray(values.T), _dicts([name for _, name in pattern.texts], columns, pattern.texts)


def _dicts(names: list[str], columns: list[Sequence[str]], texts: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """One dict of texts per tail; displays for the common lengths are thrice as fast as `dict`."""
    picked = [columns[i] for i, _ in texts]
    if len(names) == 1:
        (a,) = names
        return [{a: x} for x in picked[0]]
    if len(names) == 2:
        a, b = names
        return [{a: x, b: y} for x, y in zip(*picked, strict=True)]
    return [dict(zip(names, told_texts, strict=True)) for told_texts in zip(*picked, strict=True)] if names else []


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
    builder.field(key, "driver.key", None, ";")
    builder.literal(";")
    if not told(params):
        builder.literal(params)
    else:
        for number, param in enumerate(params.split(",")):
            pieces = param.split(":", 2)
            name = f"param.{pieces[0]}"
            grammar = {"1": _INTEGER, "2": _SIGNED, "3": None}.get(pieces[1]) if len(pieces) == 3 else None
            if len(pieces) < 3 or (grammar is None and pieces[1] != "3") or name not in measures:
                return None
            builder.literal("," if number else "")
            builder.literal(f"{pieces[0]}:{pieces[1]}:")
            builder.value(name, grammar, _VALUE)
    pattern = builder.build()
    # The plain parser has the last word: same names, all of them, and this tail fits its own pattern.
    texts = [name for _, name in pattern.texts]
    if sorted([*pattern.names, *texts]) != sorted(measures) or not pattern.reads(tail):
        return None
    return pattern


class _PatternBuilder:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._names: list[str] = []
        self._numbers: list[tuple[int, Grammar]] = []
        self._texts: list[tuple[int, str]] = []

    def literal(self, text: str) -> None:
        self._pieces.append(re.escape(text))

    def value(self, name: str, grammar: Grammar | None, shape: str) -> None:
        """A group that is a number by its grammar, or without one a text."""
        index = len(self._names) + len(self._texts)
        self._pieces.append(shape)
        if grammar is None:
            self._texts.append((index, name))
        else:
            self._names.append(name)
            self._numbers.append((index, grammar))

    def field(self, sample: str, name: str, grammar: Grammar | None, before: str = "") -> None:
        """A field with its separator: a value if the sample tells one, else the sample's own word for nothing."""
        self.literal(before)
        if told(sample):
            self.value(name, grammar, _VALUE if grammar else _KEY)
        else:
            self.literal(sample)

    def build(self) -> Pattern:
        regex = re.compile("^" + "".join(self._pieces) + "$", re.MULTILINE)
        return Pattern(regex, tuple(self._names), self._numbers, self._texts)
