"""What consumers follow: which records each transaction stored, told in that transaction.

    a writer    egress_begin(keys) ── COPY record … ── commit
    a consumer  egress_settled() ── batches above its cursor and up to that number, in order

A number is taken before anything is stored, and a lock held from before that until everything can be seen: so below the
oldest lock nothing comes any more, whatever commits in whatever order, in whichever process of whichever service. What
became of a transaction (rolled back, its process killed, its answer lost) does not matter: its lock is gone, and its
keys are there or not, exactly as its records are. Clocks play no part.

Nobody tells while there is no consumer. The first one comes under a lock that waits for every writer in flight, and
from then on a trigger refuses statements that do not tell. So what was committed before is history, what is committed
after it is told, and a process that has not heard of consumers hears of them by that refusal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from gateway.store.copy import EPOCH, Rows

NOT_TOLD = "DZ001"  # SQLSTATE of that refusal
KEY = np.dtype([("terminal", ">i4"), ("time", ">i8"), ("fingerprint", ">i8")])  # time: µs since 2000-01-01
# In a statement WITH `fresh`, of rows that were inserted: tells them as that part.
TELL_FRESH = (
    "told AS (INSERT INTO egress_batch (part, keys) SELECT {part}, string_agg(int4send(terminal) || "
    "timestamptz_send(time) || int8send(fingerprint), '' ORDER BY terminal, time, fingerprint) FROM fresh "
    "HAVING count(*) > 0)"
)
PAGE = 10_000  # batches deleted in one statement


def keys_of(rows: Rows, chosen: NDArray[np.bool_] | None = None) -> bytes:
    """The keys of all rows, or of the chosen ones, in the order in which they came."""
    batch = rows.batch
    order = np.lexsort((batch.position, batch.frame))
    if chosen is not None:
        order = order[chosen[order]]
    out = np.empty(len(order), KEY)
    out["terminal"] = rows.terminal[order]
    out["time"] = rows.time[order] - EPOCH
    out["fingerprint"] = batch.fingerprint[order]
    return out.tobytes()


def begin(keys: bytes | None) -> str:
    """The statement that a transaction begins with; `keys` of what goes by plain COPY."""
    return "SELECT egress_begin()" if keys is None else f"SELECT egress_begin('\\x{keys.hex()}')"  # hex


async def is_on(link: psycopg.AsyncConnection[Any]) -> bool:
    """Whether somebody follows, so that writers must tell."""
    row = await (await link.execute("SELECT EXISTS (SELECT FROM egress_cursor)")).fetchone()
    return row is not None and bool(row[0])


async def prune(link: psycopg.AsyncConnection[Any]) -> int:
    """Delete batches that every consumer has done with, all of them where there is none; returns how many."""
    gone = 0
    while True:
        cursor = await link.execute(
            "DELETE FROM egress_batch WHERE (number, part) IN (SELECT number, part FROM egress_batch WHERE number < "
            "coalesce((SELECT min(number) FROM egress_cursor), egress_settled() + 1) ORDER BY number, part LIMIT %s)",
            (PAGE,),
        )
        gone += cursor.rowcount
        if cursor.rowcount < PAGE:
            return gone
