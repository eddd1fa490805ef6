"""Whose payload a topic's is, and how it is read."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.receive.broker.topics import JSON, UNKNOWN, Kind, Topics, status_filters
from protocols.json_records import Template
from protocols.records import identity_of
from protocols.registry import RECEIVED

TEMPLATE = Template.of({"topic": "fleet/{terminal}/up", "fields": {"ts": "t"}})
NAMELESS = Template.of({"topic": "stream/+", "terminal": "id", "fields": {"ts": "t"}})
PLAIN = Template.of({"fields": {"ts": "t"}})
LONG = "x" * 65


@pytest.mark.parametrize(
    ("topic", "kind", "terminal", "protocol"),
    [
        ("telemetry/356938035643809/teltonika", Kind.FRAMES, "356938035643809", RECEIVED.index("teltonika")),
        ("a/b/telemetry/7/omnicomm", Kind.FRAMES, "7", RECEIVED.index("omnicomm")),
        ("telemetry/7/json", Kind.JSON, "7", JSON),
        ("356938035643809/data", Kind.JSON, "356938035643809", JSON),
        ("owntracks/ann/phone", Kind.JSON, "ann/phone", JSON),
        ("owntracks/ann/phone/event", Kind.JSON, "ann/phone", JSON),
        ("status/7", Kind.STATUS, "7", JSON),
        ("telemetry/7/smoke", Kind.NOTHING, "7", UNKNOWN),
        ("telemetry/7/unknown", Kind.NOTHING, "7", UNKNOWN),
        ("telemetry//teltonika", Kind.NOTHING, "telemetry//teltonika", UNKNOWN),
        ("telemetry/$7/teltonika", Kind.NOTHING, "telemetry/$7/teltonika", UNKNOWN),
        ("telemetry/ 7/teltonika", Kind.NOTHING, "telemetry/ 7/teltonika", UNKNOWN),
        ("telemetry/7\n/teltonika", Kind.NOTHING, "telemetry/7\ufffd/teltonika", UNKNOWN),
        (f"telemetry/{LONG}/teltonika", Kind.NOTHING, f"telemetry/{LONG}"[:64], UNKNOWN),
        ("x", Kind.NOTHING, "x", UNKNOWN),
        ("", Kind.NOTHING, "", UNKNOWN),
    ],
)
def test_topics(topic: str, kind: Kind, terminal: str, protocol: int) -> None:
    route = Topics(["telemetry/+/+"], None).route(topic.encode())
    assert (route.kind, route.terminal, route.protocol) == (kind, terminal, protocol)
    assert bool(route.reason) == (kind is Kind.NOTHING)


def test_a_topic_that_is_no_text() -> None:
    assert Topics(["#"], None).route(b"telemetry/\xff\0/json").kind is Kind.NOTHING


printable = st.text(st.characters(codec="utf-8", exclude_characters="/+#$"), min_size=1, max_size=80)


@settings(deadline=None)
@given(printable)
@example("я" * 64)
@example("😀" * 64)
@example("x" * 64)
def test_whoever_may_be_registered_may_publish(terminal: str) -> None:
    """A name is as long in a topic as in the registry: 64 characters, of however many bytes."""
    fits = identity_of(terminal) == terminal
    for topic, kind in (("telemetry/{}/omnicomm", Kind.FRAMES), ("a/{}/json", Kind.JSON), ("status/{}", Kind.STATUS)):
        route = Topics(["telemetry/+/+"], None).route(topic.format(terminal).encode())
        assert (route.kind is kind, route.kind is Kind.NOTHING) == (fits, not fits)
        assert not fits or route.terminal == terminal


levels = st.sampled_from(
    [b"telemetry", b"status", b"json", b"", b"owntracks", b"\xff", b"fleet", b"up", b"omnicomm", b"7", b" ", b"\0"]
)


@settings(deadline=None)
@given(
    st.binary(max_size=60) | st.lists(levels, max_size=5).map(b"/".join),
    st.sampled_from([None, TEMPLATE, NAMELESS, PLAIN]),
)
def test_any_topic_has_somewhere_to_go(topic: bytes, template: Template | None) -> None:
    """And names nobody whom the store cannot hold."""
    route = Topics(["telemetry/+/+", "owntracks/#", "fleet/#"], template).route(topic)
    assert len(route.terminal) <= 64
    assert "\0" not in route.terminal
    route.terminal.encode()
    assert (route.reason != "") == (route.kind is Kind.NOTHING)


def test_templates() -> None:
    topics = Topics(["fleet/#"], TEMPLATE)
    assert topics.route(b"fleet/7/up").template is TEMPLATE
    assert topics.route(b"fleet/7/json").template is None  # it has topics of its own
    assert Topics(["#"], PLAIN).route(b"telemetry/7/json").template is PLAIN
    route = Topics(["stream/+"], NAMELESS).route(b"stream/4")
    assert (route.kind, route.terminal, route.template) == (Kind.JSON, "", NAMELESS)


def test_status_topics_stand_beside_telemetry() -> None:
    assert status_filters(["telemetry/+/+", "a/telemetry/7/json", "owntracks/+/+", "telemetry/#", "telemetry"]) == [
        "status/+", "a/status/7",
    ]  # fmt: skip
