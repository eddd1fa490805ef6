"""Acknowledgements leave in the order of arrival, each once, none after the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.receive.broker.window import Window


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_the_order_is_that_of_arrival(order: Sequence[int], at_qos_0: set[int]) -> None:
    async def main() -> None:
        told: list[int] = []
        window = Window(told.extend, lambda: None)
        deliveries = [window.take(0 if n in at_qos_0 else n + 1, 10) for n in range(8)]
        done: set[int] = set()
        for n in order:
            deliveries[n].settle()
            done.add(n)
            await asyncio.sleep(0)
            first = next((n for n in range(8) if n not in done), 8)  # the first that is not done holds the rest
            assert told == [n + 1 for n in range(first) if n not in at_qos_0]
            assert window.bytes == 10 * (8 - first)

    asyncio.run(main())


def test_a_message_of_several_parts_waits_for_all() -> None:
    async def main() -> None:
        told: list[int] = []
        window = Window(told.extend, lambda: None)
        delivery = window.take(1, 1)
        delivery.expect(2)
        for _ in range(2):
            delivery.settle()
            await asyncio.sleep(0)
            assert told == []
        delivery.settle()
        await asyncio.sleep(0)
        assert told == [1]

    asyncio.run(main())


def test_nothing_is_acknowledged_after_the_connection() -> None:
    async def main() -> None:
        told: list[int] = []
        gone: list[None] = []
        window = Window(told.extend, lambda: gone.append(None))
        delivery = window.take(1, 1)
        delivery.abandon()
        assert len(gone) == 1
        window.close()
        delivery.settle()
        delivery.abandon()
        await asyncio.sleep(0)
        assert (told, len(gone)) == ([], 1)

    asyncio.run(main())
