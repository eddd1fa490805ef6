"""Scripts are checked whole before anything is played: each wrong line by its place and remedy."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.rehearsal.doing import ACTIONS
from ticketing.rehearsal.script import ScriptError, read

AT = "2026-03-02T08:00:00+03:00"
GOOD = {"at": AT, "do": "organisation", "ref": "acme", "name": "Acme"}


def lines(*said):
    return [each if isinstance(each, bytes) else msgspec.json.encode(each) for each in said]


@pytest.mark.parametrize(
    ("wrong", "place", "what"),
    [
        ([GOOD, b"{"], 2, "no JSON"),
        ([b"[1]"], 1, "no JSON object"),
        ([{"do": "crash"}], 1, "lacks `at`"),
        ([{"at": "yesterday", "do": "crash"}], 1, "`at` is 'yesterday'"),
        ([{"at": "2026-03-02T08:00:00", "do": "crash"}], 1, "`at` is"),
        ([{"at": AT}], 1, "lacks `do`"),
        ([{"at": AT, "do": "dance"}], 1, "nothing can do 'dance'"),
        ([GOOD, {"at": "2026-03-02T04:59:59Z", "do": "crash"}], 2, "goes back in time"),
        ([{"at": AT, "do": "take", "ticket": "t1"}], 1, "ticket names 't1'"),
        ([GOOD, b"", {"at": AT, "do": "press", "letter": "t1/recovered/1", "button": "fixed"}], 3, "letter names 't1'"),
        ([{"at": AT, "do": "mail", "answers": "t1/ack/1"}], 1, "answers names 't1'"),
    ],
)
def test_a_wrong_line_is_named(wrong, place, what):
    with pytest.raises(ScriptError, match=rf"^week.jsonl:{place}: ") as raised:
        read("week.jsonl", lines(*wrong), ACTIONS)
    assert what in str(raised.value)
    assert str(raised.value).count(": ") >= 2, "what is wrong, and the remedy"


def test_instants_are_utc_and_lines_of_one_instant_keep_their_order():
    found = read("-", lines(GOOD, {"at": "2026-03-02T05:00:00Z", "do": "crash"}), ACTIONS)
    assert [(line.do, line.at.isoformat()) for line in found] == [
        ("organisation", "2026-03-02T05:00:00+00:00"),
        ("crash", "2026-03-02T05:00:00+00:00"),
    ]
    assert (found[0].ref, found[0].said) == ("acme", {"name": "Acme"})


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_a_script_or_an_error_of_ours(raw):
    told = "-:"
    try:
        read("-", raw, ACTIONS)
    except ScriptError as error:
        told = str(error)
    assert told.startswith("-:")
