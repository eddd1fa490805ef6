"""What is known of faults: which known errors fit a ticket, and what came of suggesting them (S2-9, S4-39).

A ticket is compared when it opens and when somebody takes it. A known error fits if each of kind, protocol and model
that it names is the ticket's, and if it names the incident's kind or the model, or shares words of its symptom with
what the ticket says. While suggestions are there and none was read, the pre-check `documentation` is red.

Words are folded alike where they are kept and where they are looked for: small letters, ё as е, each Chinese character
a word of its own; PostgreSQL's configuration `russian` then takes the stems of Russian and of English words.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg import sql

from ticketing.core.db import Connection, utc_or_none
from ticketing.core.journal import append_journal
from ticketing.model.states import WATCH, Action
from ticketing.model.tickets import Suggestion

CHECK = "documentation"
LOOKED = 50  # known errors, by words and by kind each, that are compared word by word
SUGGESTED = 5  # to one ticket: more would be read by nobody
SHARED = 2  # words of the symptom, if it has so many: one alone is said of everything
WORDS_KEPT = 2000  # of each text of a known error: 4000 characters have no more
WORDS_ASKED = 40  # of what a ticket says: the statement stays small whatever came by mail
WORD = 60  # characters
PREFIX = 4  # characters from which on the beginning of a word is looked for
TOP = 50  # known errors of a report
REQUEST = "request"  # the kind of tickets that people open: it tells nothing

# Of what is about the same things, the nearest by kind and model and the nearest by words; of those whatever fits.
_SUGGEST: LiteralString = """
WITH about AS NOT MATERIALIZED (
    SELECT id, words, num_nonnulls(kind, protocol, model) AS named,
        model IS NOT NULL OR coalesce(kind, %(request)s) <> %(request)s AS plain
    FROM known_error
    WHERE active AND (kind IS NULL OR kind = %(kind)s)
        AND (protocol IS NULL OR lower(protocol) = lower(%(protocol)s))
        AND (model IS NULL OR lower(model) = lower(%(model)s))
), near AS (
    (SELECT id FROM about WHERE plain ORDER BY named DESC, id DESC LIMIT %(looked)s)
    UNION
    (SELECT id FROM about WHERE words @@ to_tsquery('russian', %(query)s)
     ORDER BY ts_rank(words, to_tsquery('russian', %(query)s)) DESC, id DESC LIMIT %(looked)s)
), fitting AS (
    SELECT id, named, plain, (SELECT count(*) FROM unnest(symptom) s WHERE s = ANY(asked.lexemes)) AS shared,
        least(%(shared)s, cardinality(symptom)) AS needed
    FROM near JOIN about USING (id), tsvector_to_array(ts_filter(words, '{a}')) AS symptom,
        tsvector_to_array(to_tsvector('russian', %(words)s)) AS asked(lexemes)
), new AS (
    INSERT INTO suggestion (ticket, known_error, suggested_at) SELECT %(ticket)s, id, %(at)s FROM fitting
    WHERE plain OR (needed > 0 AND shared >= needed) ORDER BY named DESC, shared DESC, id DESC
    LIMIT greatest(0, %(most)s - (SELECT count(*) FROM suggestion
                                  WHERE ticket = %(ticket)s AND suggested_at IS NOT NULL))
    ON CONFLICT DO NOTHING RETURNING known_error
)
SELECT known_error FROM new ORDER BY known_error"""
_WORD = re.compile(r"\w+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def folded(text: str, most: int) -> list[str]:
    """The first `most` different words, each free of all that a query would read."""
    plain = _HAN.sub(r" \g<0> ", text.casefold().replace("ё", "е"))
    found: dict[str, None] = {}
    for match in _WORD.finditer(plain):
        found[match[0].strip("_")[:WORD]] = None
        if len(found) > most:
            break
    found.pop("", None)
    return list(found)[:most]


def query_of(search: str) -> str:
    """A search as a query: all its words, of longer ones the beginning; empty where it has none."""
    return " & ".join(f"{word}:*" if len(word) >= PREFIX else word for word in folded(search, WORDS_ASKED))


async def index(connection: Connection, known_error: int, symptom: str, cause: str, workaround: str) -> None:
    """Keep its words as they will be looked for."""
    await connection.execute(
        "UPDATE known_error SET words = setweight(to_tsvector('russian', %s), 'A')"
        " || setweight(to_tsvector('russian', %s), 'B') || setweight(to_tsvector('russian', %s), 'C') WHERE id = %s",
        (*(" ".join(folded(text, WORDS_KEPT)) for text in (symptom, cause, workaround)), known_error),
    )


async def look(connection: Connection, ticket: int, at: datetime) -> None:
    """Suggest what fits the ticket and was not suggested yet; what is new is in its journal."""
    rows = await connection.execute(
        "SELECT t.kind, t.state, e.protocol, coalesce(e.model_told, e.model), t.title || ' ' || coalesce((SELECT"
        "   left(m.text, 4000) FROM ticket_message m WHERE m.ticket = t.id AND m.public AND m.direction = 'in'"
        "   ORDER BY m.id LIMIT 1), '')"
        " FROM ticket t LEFT JOIN terminal e ON e.id = t.terminal"
        " WHERE t.id = %s AND EXISTS (SELECT FROM known_error WHERE active)",
        (ticket,),
    )
    found = await rows.fetchone()
    if found is None:
        return
    kind, state, protocol, model, said = found
    words = folded(said, WORDS_ASKED)
    rows = await connection.execute(
        _SUGGEST,
        {
            "ticket": ticket, "at": at, "kind": kind, "protocol": protocol, "model": model, "most": SUGGESTED,
            "query": " | ".join(f"{word}:A" for word in words), "words": " ".join(words), "request": REQUEST,
            "shared": SHARED, "looked": LOOKED,
        },
    )  # fmt: skip
    new = [row[0] for row in await rows.fetchall()]
    if new:
        result = await answer(connection, ticket, at)
        data = {"name": CHECK, "result": result, "known_errors": new}
        await append_journal(connection, ticket, at, WATCH, Action.CHECKED, "", state, data)


async def answer(connection: Connection, ticket: int, at: datetime) -> str | None:
    """Let the pre-check say whether one of the suggestions was read; returns its result, None where there are none."""
    await connection.execute(
        "INSERT INTO precheck (ticket, name, result, at) SELECT %(ticket)s, %(name)s,"
        "  CASE WHEN bool_or(read_at IS NOT NULL) THEN 'green' ELSE 'red' END, %(at)s"
        "  FROM suggestion WHERE ticket = %(ticket)s HAVING count(*) > 0"
        " ON CONFLICT (ticket, name) DO UPDATE SET result = excluded.result, at = excluded.at"
        "  WHERE precheck.result NOT IN ('waived', excluded.result)",
        {"ticket": ticket, "name": CHECK, "at": at},
    )
    rows = await connection.execute("SELECT result FROM precheck WHERE ticket = %s AND name = %s", (ticket, CHECK))
    found = await rows.fetchone()
    return None if found is None else str(found[0])


async def suggestions_of(connection: Connection, ticket: int) -> list[Suggestion]:
    """What was suggested for it, or found for it, in the order in which it fits."""
    rows = await connection.execute(
        "SELECT k.id, k.symptom, k.cause, k.workaround, k.link, s.suggested_at, s.read_at, s.read_by, s.helped_at,"
        " s.helped_by FROM suggestion s JOIN known_error k ON k.id = s.known_error WHERE s.ticket = %s"
        " ORDER BY num_nonnulls(k.kind, k.protocol, k.model) DESC, k.id DESC",
        (ticket,),
    )
    return [
        Suggestion(
            known_error=row[0], symptom=row[1], cause=row[2], workaround=row[3], link=row[4],
            suggested_at=utc_or_none(row[5]), read_at=utc_or_none(row[6]), read_by=row[7],
            helped_at=utc_or_none(row[8]), helped_by=row[9],
        )
        for row in await rows.fetchall()
    ]  # fmt: skip


class KnownErrorUse(msgspec.Struct, kw_only=True):
    """For how many tickets a known error was suggested, read, and of help."""

    known_error: int
    symptom: str
    suggested: int
    read: int
    helped: int


class HitRate(msgspec.Struct, kw_only=True):
    """Of the tickets opened in the span: to how many something was suggested, and for how many it was read and helped.

    The shares are of those with suggestions, from 0 to 1, None where there are none. `known_errors`: the most helpful.
    """

    since: datetime
    until: datetime
    tickets: int
    suggested: int
    read: int
    helped: int
    read_share: float | None
    helped_share: float | None
    known_errors: list[KnownErrorUse]


_COUNTED = sql.SQL(
    "FROM ticket t LEFT JOIN suggestion s ON s.ticket = t.id AND s.suggested_at IS NOT NULL"
    " WHERE t.opened_at >= %(since)s AND t.opened_at < %(until)s AND t.merged_into IS NULL AND {}"
    " AND (%(organisation)s::bigint IS NULL OR t.organisation = %(organisation)s)"
)


async def hit_rate(
    connection: Connection, seen: sql.Composable, since: datetime, until: datetime, organisation: int | None = None
) -> HitRate:
    """What suggestions came to; `seen` is whose tickets count, over `t`. What was found by search is not counted."""
    asked = {"since": since, "until": until, "organisation": organisation, "top": TOP}
    counted = _COUNTED.format(seen)
    rows = await connection.execute(
        sql.SQL(
            "SELECT count(DISTINCT t.id), count(DISTINCT s.ticket), count(DISTINCT s.ticket) FILTER (WHERE s.read_at"
            " IS NOT NULL), count(DISTINCT s.ticket) FILTER (WHERE s.helped_at IS NOT NULL) {}"
        ).format(counted),
        asked,
    )
    tickets, suggested, read, helped = await rows.fetchone() or (0, 0, 0, 0)
    rows = await connection.execute(
        sql.SQL(
            "SELECT u.id, k.symptom, u.suggested, u.read, u.helped FROM (SELECT s.known_error AS id, count(*) AS"
            " suggested, count(s.read_at) AS read, count(s.helped_at) AS helped {} AND s.ticket IS NOT NULL GROUP BY 1)"
            " u JOIN known_error k ON k.id = u.id ORDER BY u.helped DESC, u.read DESC, u.id LIMIT %(top)s"
        ).format(counted),
        asked,
    )
    uses = [
        KnownErrorUse(known_error=row[0], symptom=row[1], suggested=row[2], read=row[3], helped=row[4])
        for row in await rows.fetchall()
    ]
    return HitRate(
        since=since, until=until, tickets=tickets, suggested=suggested, read=read, helped=helped,
        read_share=_share(read, suggested), helped_share=_share(helped, suggested), known_errors=uses,
    )  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
