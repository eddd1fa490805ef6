"""One consumer, from real batches to a real broker: what it does not take, when it is away, when nobody reads."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from gateway.configuration.carriers import Egress
from gateway.egress import publishing
from gateway.egress import sending as module
from gateway.egress.publishing import Publisher
from gateway.egress.sending import Sender
from gateway.mqtt import ClientTls, parse_url
from gateway.store.cursors import NOW, consumers, ensure
from tests.gateway.egress.broker import Broker, Consumer, running_broker
from tests.gateway.egress.world import link_to, store_of
from tests.gateway.receive.outside import make_certificate
from tests.gateway.store.test_writer import Store, record
from tests.harness import free_port

Times = dict[str, list[str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", (0.05, 0.3))
    monkeypatch.setattr(module, "TEND", 0.1)
    monkeypatch.setattr(module, "STANDBY", 0.1)
    monkeypatch.setattr(module, "IDLE", 0.02)


def egress(broker: Broker, url: str = "", tls: ClientTls | None = None, password_file: Path | None = None) -> Egress:
    parsed = parse_url(url or broker.url)
    assert parsed is not None
    return Egress(name="a", url=parsed, terminals=[], start=NOW, password_file=password_file, tls=tls)


@contextlib.asynccontextmanager
async def sending(dsn: str, settings: Egress) -> AsyncIterator[Sender]:
    sender = Sender(dsn, settings)
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.02)


def run(dsn: str, test: Callable[[Store], Coroutine[Any, Any, None]]) -> None:
    async def inside() -> None:
        async with store_of(dsn) as store, link_to(dsn) as link:
            await ensure(link, [("a", NOW)])
            await test(store)

    asyncio.run(inside())


def order(consumer: Consumer) -> dict[str, list[int]]:
    """Of each terminal the instants of its records (µs, by their ids) in the order in which each came first."""
    return {
        terminal: [int(told["id"].split("-")[1]) for told in records] for terminal, records in consumer.first().items()
    }


@contextlib.contextmanager
def reading(broker: Broker, *topics: str, name: str = "consumer") -> Any:
    found = Consumer(broker, *topics, name=name).start()
    try:
        yield found
    finally:
        found.stop()


def test_the_broker_away_and_back_nothing_left_out(postgres_dsn: str, mosquitto: Path) -> None:
    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            first = Consumer(broker).start()
            async with sending(postgres_dsn, egress(broker)) as sender:
                for n in range(30):
                    await store.write(*(record(terminal, 10 * n + k) for k in range(5) for terminal in (1, 2)))
                await until(lambda: sender.stats.sent == 300 and len(first.seen()) >= 300)
                broker.stop(forgetful=True)  # of who read
                first.stop()
                for n in range(30, 60):
                    await store.write(*(record(terminal, 10 * n + k) for k in range(5) for terminal in (1, 2)))
                await until(lambda: not sender.stats.connected)
                await until(lambda: sender.stats.oldest is not None)
                sent = sender.stats.sent
                broker.start()
                await until(lambda: sender.stats.connected)
                await asyncio.sleep(0.5)
                assert sender.stats.sent == sent, "nobody reads: a record that is taken for nobody is not acknowledged"
                with reading(broker, name="second") as second:
                    await until(lambda: sender.stats.sent == 600)
                    await until(lambda: len(first.seen() + second.seen()) >= 600)
                    await until(lambda: sender.stats.oldest is None)
                    ids = {told["id"] for told in first.seen() + second.seen()}
                    assert len(ids) == 600
                    for terminal in ("T1", "T2"):
                        assert order(first)[terminal] == sorted(order(first)[terminal])
                        assert order(second)[terminal] == sorted(order(second)[terminal])

    run(postgres_dsn, test)


def test_a_record_that_is_too_large_holds_up_nobody_and_goes_when_it_may(postgres_dsn: str, mosquitto: Path) -> None:
    """Also where the broker does not tell beforehand how large one may be."""

    async def test(store: Store) -> None:
        large = {"note": "x" * 20_000}
        for limit in ("max_packet_size 15000", "message_size_limit 15000"):
            with running_broker(mosquitto, limit) as broker, reading(broker) as there:
                async with sending(postgres_dsn, egress(broker)) as sender:
                    at = 0 if "max" in limit else 10
                    await store.write(record(1, at), record(1, at + 1, extra=large), record(1, at + 2), record(2, at))
                    # What the consumer has seen is done with only when the cursor is behind it.
                    await until(lambda: sender.stats.sent == 3 and sender.stats.aside == 1)
                    await until(lambda: sum(map(len, order(there).values())) == 3)
                    assert (await consumers(store.link))[0].sent == sender.stats.sent + (0 if at == 0 else 4)
                broker.stop()
                broker.more = ""
                broker.start()
                with reading(broker, name="again") as again:
                    await store.link.execute("UPDATE egress_aside SET next_at = now()")
                    async with sending(postgres_dsn, egress(broker)) as sender:
                        await until(lambda: sender.stats.sent == 1 and sender.stats.aside == 0)
                        await until(lambda: len(again.seen()) == 1)
                        assert again.seen()[0]["measures"] == large

    run(postgres_dsn, test)


def _allow(broker: Broker, rules: str) -> None:
    """From a new start on."""
    (broker.folder / "acl").write_text(rules)
    broker.stop()
    broker.more = "acl_file FOLDER/acl"
    broker.start()


def test_terminals_that_may_not_be_written_hold_up_nobody(postgres_dsn: str, mosquitto: Path) -> None:
    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            _allow(broker, "topic read records/#\ntopic write records/T1\ntopic write records/T2\n")
            with reading(broker) as there:
                async with sending(postgres_dsn, egress(broker)) as sender:
                    await store.write(record(3, 0), record(1, 1), record(3, 2), record(2, 3))
                    await until(lambda: len(there.seen()) == 2)
                    await until(lambda: sender.stats.aside == 2)
                    # Refused whatever comes, as far as can be seen: it is tried again a few times, then set aside.
                    await store.write(record(3, 3))
                    await until(lambda: sender.stats.aside == 3)
                    await store.write(record(1, 4))
                    await until(lambda: len(there.seen()) == 3)

    run(postgres_dsn, test)


def test_a_consumer_that_refuses_whatever_comes_is_as_good_as_away(
    postgres_dsn: str, mosquitto: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 10**6)

    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            _allow(broker, "topic read records/#\n")
            async with sending(postgres_dsn, egress(broker)) as sender:
                await store.write(*(record(terminal, terminal) for terminal in range(1, 9)))
                await until(lambda: "refuses" in sender._told)
                await asyncio.sleep(0.5)
                assert (sender.stats.sent, sender.stats.aside) == (0, 0)
                _allow(broker, "topic readwrite records/#\n")
                with reading(broker) as there:
                    await until(lambda: len(there.seen()) == 8)
                    await until(lambda: sender.stats.sent == 8)

    run(postgres_dsn, test)


def test_whose_records_nobody_ever_read_waits_for_nobody(postgres_dsn: str, mosquitto: Path) -> None:
    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            async with sending(postgres_dsn, egress(broker)) as sender:
                await store.write(record(2, 0), record(1, 0), record(2, 1))
                await until(lambda: "nobody subscribes" in sender._told)
                with reading(broker, "records/T1", "records/T3") as there:
                    await until(lambda: sender.stats.sent == 3)
                    await store.write(record(2, 2), record(1, 1), record(3, 1))
                    await until(lambda: sender.stats.sent == 6)
                    assert {name: len(seen) for name, seen in order(there).items()} == {"T1": 2, "T3": 1}
            # Also by the next process; and T1's reader is missed when it is gone.
            async with sending(postgres_dsn, egress(broker)) as sender:
                await store.write(record(2, 3))
                await until(lambda: sender.stats.sent == 1)
                broker.stop(forgetful=True)
                broker.start()
                await store.write(record(2, 4), record(1, 2))
                await until(lambda: "nobody subscribes" in sender._told)
                assert sender.stats.sent == 2
                with reading(broker, "records/T1") as there:
                    await until(lambda: len(there.seen()) == 1)

    run(postgres_dsn, test)


def test_any_identity_is_a_topic(postgres_dsn: str, mosquitto: Path) -> None:
    names = ["a/b", "+", "#", "100%", "$SYS", "Ёлка 7", "x" * 64]

    async def test(store: Store) -> None:
        for row, name in enumerate(names, 1):
            await store.link.execute("UPDATE terminal SET identity = %s WHERE id = %s", (name, row))
        with running_broker(mosquitto) as broker, reading(broker) as there:
            async with sending(postgres_dsn, egress(broker)):
                await store.write(*(record(row, 0) for row in range(1, len(names) + 1)))
                await until(lambda: len(there.seen()) == len(names))
        topics = {topic: records[0]["terminal"] for topic, records in there.by_topic.items()}
        escaped = ["a%2Fb", "%2B", "%23", "100%25", *names[4:]]
        assert topics == {f"records/{short}": name for short, name in zip(escaped, names, strict=True)}

    run(postgres_dsn, test)


def test_a_record_at_which_the_consumer_hangs_up_is_found_and_set_aside(
    postgres_dsn: str, mosquitto: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker says how large a packet may be, and here nobody listens: it closes the connection each time."""
    monkeypatch.setattr("gateway.egress.publishing.Publisher._too_large", lambda self, size: False)

    async def test(store: Store) -> None:
        with running_broker(mosquitto, "max_packet_size 15000") as broker, reading(broker) as there:
            async with sending(postgres_dsn, egress(broker)) as sender:
                rows = [record(1, n, extra={"note": "x" * 20_000} if n == 5 else {}) for n in range(12)]
                await store.write(*rows)
                await until(lambda: sender.stats.aside == 1)
                await until(lambda: len(order(there).get("T1", [])) == 11)
                assert order(there)["T1"] == sorted(order(there)["T1"])
                row = await (await store.link.execute("SELECT reason FROM egress_aside")).fetchone()
                assert row == ("connection",)

    run(postgres_dsn, test)


def test_the_password_is_read_from_its_file_each_time_and_told_nowhere(
    postgres_dsn: str, mosquitto: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong horse\n")

    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            broker.stop()
            digest = hashlib.pbkdf2_hmac("sha512", b"battery staple", b"salt" * 3, 101)
            salt, told = (base64.b64encode(data).decode() for data in (b"salt" * 3, digest))
            (broker.folder / "passwords").write_text(f"someone:$7$101${salt}${told}\n")
            broker.more = "password_file FOLDER/passwords"
            broker.start()
            named = egress(broker, url=broker.url.replace("//", "//someone@"), password_file=secret)
            async with sending(postgres_dsn, named) as sender:
                await store.write(record(1, 1))
                await until(lambda: "Not authorized" in sender._told)
                secret.write_text("battery staple\n")
                with reading(broker) as there:
                    await until(lambda: len(there.seen()) == 1)

    run(postgres_dsn, test)
    said = "".join(capsys.readouterr())
    assert "the consumer is away" in said
    assert "horse" not in said
    assert "staple" not in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops a socket it failed to wrap
def test_over_tls_with_a_certificate_of_our_own(postgres_dsn: str, mosquitto: Path) -> None:
    async def test(store: Store) -> None:
        with running_broker(mosquitto) as broker:
            broker.stop()
            folder = broker.folder
            for name in ("localhost", "gateway", "stranger"):
                for file in make_certificate(folder, name):
                    file.chmod(0o644)
            broker.plain_port = free_port()
            broker.more = (
                "certfile FOLDER/localhost.crt\nkeyfile FOLDER/localhost.key\ncafile FOLDER/gateway.crt\n"
                f"require_certificate true\nlistener {broker.plain_port} 127.0.0.1"
            )
            broker.start()
            url = f"mqtts://localhost:{broker.port}"
            ca, cert, key = folder / "localhost.crt", folder / "gateway.crt", folder / "gateway.key"
            await store.write(record(1, 1))
            with reading(broker) as there:
                for wrong in (
                    None,  # the system does not know that authority
                    ClientTls(ca=ca),
                    ClientTls(ca=ca, cert=folder / "stranger.crt", key=folder / "stranger.key"),
                    ClientTls(ca=cert, cert=cert, key=key),
                ):
                    async with sending(postgres_dsn, egress(broker, url=url, tls=wrong)) as sender:
                        await until(lambda: "the consumer is away" in sender._told)
                async with sending(postgres_dsn, egress(broker, url=url, tls=ClientTls(ca, cert, key))):
                    await until(lambda: len(there.seen()) == 1)
                other_name = f"mqtts://127.0.0.1:{broker.port}"
                async with sending(
                    postgres_dsn, egress(broker, url=other_name, tls=ClientTls(ca, cert, key))
                ) as sender:
                    await until(lambda: "the consumer is away" in sender._told)

    run(postgres_dsn, test)


@pytest.mark.parametrize("bound", ["broker", "bytes"])
def test_what_is_on_its_way_is_bounded(
    postgres_dsn: str, mosquitto: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """By what the broker asks for, and by bytes."""
    peaks: list[int] = []
    send = Publisher.send

    async def counted(self: Publisher, topic: str, payload: bytes, told: Callable[[int], None]) -> None:
        await send(self, topic, payload, told)
        peaks.append(self.on_its_way())

    monkeypatch.setattr(Publisher, "send", counted)
    if bound == "bytes":
        monkeypatch.setattr(publishing, "WINDOW_BYTES", 1000)

    async def test(store: Store) -> None:
        window = 3 if bound == "broker" else 200
        with running_broker(mosquitto, window=window) as broker, reading(broker) as there:
            async with sending(postgres_dsn, egress(broker)) as sender:
                for n in range(10):
                    await store.write(*(record(1, 100 * n + k) for k in range(100)))
                await until(lambda: sender.stats.sent == 1000)
                await until(lambda: len(there.seen()) == 1000)
                assert order(there)["T1"] == sorted(order(there)["T1"])
        assert 1 < max(peaks) <= (3 if bound == "broker" else 5)  # of some 250 bytes each

    run(postgres_dsn, test)
