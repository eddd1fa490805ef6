"""What a consumer is sent is what `dozor decode` prints, whatever the record holds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np

from gateway.egress import payloads as module
from gateway.egress.payloads import digits_of
from gateway.record_objects import record_objects
from gateway.store.cursors import NOW, ensure
from gateway.store.layouts import PER_TERMINAL
from protocols.records import VALID
from tests.gateway.egress.world import following, link_to, store_of
from tests.gateway.store.test_writer import DAY, job, record
from tests.gateway.store.test_writer import NOW as STARTED

NAN = float("nan")
RECORDS = [
    record(1, 123_000, lat=55.7520123, lon=37.6175432, altitude=168.0, speed=61.1, course=274.5, satellites=11,
           flags=VALID, names=("power.external", "odometer"), values=(12.6, 123456789.0)),
    record(2, 1, lat=NAN, lon=NAN, altitude=NAN, speed=NAN, course=NAN, satellites=-1, flags=0, names=()),
    record(3, 500_000, flags=16, names=("a", "b", "c"), values=(1.0, NAN, -0.5),
           extra={"vin": "X\"9ж", "big": 2**63 + 1}),
    record(4, 10**17, names=("x",), values=(1e-9,)),  # beyond the year 5000
    record(5, -(6 * 10**16), names=("x",), values=(143.7,)),
    record(1, 124_000, names=("power.external",), values=(1e300,)),
]  # fmt: skip


def sent_to(dsn: str, *records: dict[str, Any]) -> list[dict[str, Any]]:
    async def test() -> list[dict[str, Any]]:
        async with store_of(dsn) as store, link_to(dsn) as link, following(dsn) as follower:
            await ensure(link, [("a", NOW)])
            await store.write(*records)
            page = await follower.page()
            assert page is not None
            payloads = await follower.payloads.read(page.keys)
            found = []
            for payload, key in zip(payloads, page.keys, strict=True):
                assert payload is not None
                if payload.large:
                    await follower.payloads.whole(payload, key)
                found.append(json.loads(payload.encoded()))
            assert await follower.payloads.read(page.keys[:0]) == []
            return found

    return asyncio.run(test())


def test_payloads_are_records_as_decode_prints_them(either_dsn: str) -> None:
    expected = {
        (f"T{RECORDS[frame]['terminal']}", RECORDS[frame]["time"]): told
        for frame, _, told in record_objects(job(RECORDS).rows.batch)
    }
    found = sent_to(either_dsn, *RECORDS)
    assert len(found) == len(RECORDS)
    for told in found:
        instant = next(at for (terminal, at) in expected if terminal == told["terminal"] and f"-{at}-" in told["id"])
        wanted = expected[told["terminal"], instant]
        assert told.pop("terminal")
        assert told.pop("id")
        # Teltonika's three digits are told, and no more than there are.
        time, wire = told.pop("time"), wanted.pop("time")
        rest = instant % 1_000_000
        digits = 3 if not rest % 1000 else 6
        assert time == f"{wire[:-1]}.{rest:06d}"[: -(6 - digits) or None] + "Z"
        assert told == wanted


def test_ids_tell_records_apart_and_stay_the_same(postgres_dsn: str) -> None:
    same_time = [record(1, 5, fingerprint=n) for n in (0, -1, 7)]
    found = sent_to(postgres_dsn, *same_time, record(2, 5))
    ids = [told["id"] for told in found]
    assert len(set(ids)) == 4
    assert sorted(ids)[:3] == sorted(f"1-{STARTED - DAY + 5}-{fingerprint:016x}" for fingerprint in (0, 2**64 - 1, 7))


def test_large_texts_are_read_one_by_one(postgres_dsn: str) -> None:
    texts = {"note": "ж" * module.SMALL, "number": 2**60}
    small, large = record(1, 1, extra={"note": "short"}), record(1, 2, extra=texts, names=("a",), values=(1.0,))
    dated_ahead = record(2, 5 * DAY, extra=texts)
    found = sent_to(postgres_dsn, small, large, dated_ahead)
    assert [told["measures"] for told in found] == [{"note": "short"}, {"a": 1, **texts}, texts]


def test_names_beyond_the_bound_of_layouts_are_sent_all_the_same(postgres_dsn: str) -> None:
    many = [record(1, n, names=(f"name{n}",), values=(float(n),)) for n in range(PER_TERMINAL + 20)]
    found = sent_to(postgres_dsn, *many)
    assert [told["measures"] for told in found] == [{f"name{n}": n} for n in range(PER_TERMINAL + 20)]


def test_digits_of_a_fraction() -> None:
    fractions = {0: 0, 500_000: 1, 120_000: 2, 123_000: 3, 123_400: 4, 1: 6, 999_999: 6, 10: 5}
    time = np.array([1_700_000_000_000_000 + rest for rest in fractions])
    assert digits_of(time).tolist() == list(fractions.values())
    assert digits_of(-time).tolist() == list(fractions.values())
