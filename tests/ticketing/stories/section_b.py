"""B. Identity and numbering."""

from tests.ticketing.stories.story import ANN, CLIENT, TERMINAL, Story, event, line, mail, phone

STORIES = [
    Story(
        "S1-13",
        "Each request has a number of its own, with a check digit",
        "support-procedure",
        [
            *CLIENT,
            mail("03-02T10:00", "a"),
            phone("03-02T10:00", "b"),
            line("03-02T10:00", "finding", ref="c", terminal=TERMINAL, kind="silence"),
        ],
        [event("opened", ticket=ref) for ref in "abc"],
        letters={"ack": 3},
        check=lambda events: _different(events),
    ),
    Story(
        "S1-13",
        "Wrong digits and swapped neighbours are caught",
        proof="tests/ticketing/core/test_numbers.py::test_wrong_digits_and_swapped_neighbours_are_caught",
    ),
    Story(
        "S3-10",
        "The number stays until the fault is gone: merged it leads to the survivor, reopened it is the same",
        "carrier-helpdesk",
        [
            *CLIENT,
            mail("03-02T10:00", "a", subject="One"),
            mail("03-02T10:01", "b", subject="Two"),
            line("03-02T10:02", "merge", ticket="b", into="a", as_="igor"),
            mail("03-02T10:03", subject="[#{b.number}] Two", text="and still"),
            line("03-02T10:04", "fix", ticket="a", as_="igor", text="restarted"),
            line("03-02T10:05", "press", letter="a/recovered/1", button="fixed"),
            mail("03-02T10:20", subject="Re: [#{b.number}] Two", text="It does not work."),
        ],
        [
            event("state", ticket="b", to="closed"),
            event("message", ticket="a", direction="in", by="tag"),
            event("state", ticket="a", to="awaiting_consent"),
            event("state", ticket="a", to="closed"),
            event("state", ticket="a", from_="closed", to="new"),
        ],
        never=[event("breach", ticket="b", at=lambda at: at > "2026-03-02T07:02:01Z")],
        letters={"ack": 2, "recovered": 1, "closed": 1},
        until="03-02T10:30",
        check=lambda events: _count(events, 2),
    ),
    Story(
        "S3-11",
        "What the watch opens and what is phoned share list, states and clocks",
        "carrier-helpdesk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="seen", terminal=TERMINAL, kind="gnss", zone="gnss-antenna"),
            phone("03-02T10:00:10", "told", subject="Another matter"),
            line("03-02T10:00:20", "qualify", ticket="told", as_="igor", class_="software", component="server"),
            line("03-02T10:00:30", "queue", topic="support"),
        ],
        [
            event("stopped", ticket="seen", clock="localisation", verdict="met"),
            event("stopped", ticket="told", clock="localisation", verdict="met"),
            event("queue", order=["seen", "told"]),
        ],
        letters={"ack": 2},
        until="03-02T10:01",
    ),
    Story(
        "S2-14",
        "A call about a problem that is known joins its ticket",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="silence"),
            phone("03-02T10:10", "call", vehicle="v1", description="A001AA is lost"),
            line("03-02T10:20", "take", ticket="call", as_="igor"),
        ],
        [
            event("message", ticket="t", direction="in", public=True, from_="Ann"),
            event("state", ticket="t", to="in_work"),
        ],
        letters={"ack": 1, "work_started": 1},
        check=lambda events: _count(events, 1),
    ),
    Story(
        "S2-14",
        "The number is found as people and letters write it",
        proof="tests/ticketing/desk/test_search.py::test_a_number_is_found_as_people_and_letters_write_it",
    ),
    Story(
        "S2-15",
        "The confirmation is the receipt: tried again until mail goes, and a bounce asks for a call",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T09:59", "channel", name="mail", up=False),
            mail("03-02T10:00", "t"),
            line("03-02T14:00", "channel", name="mail", up=True),
        ],
        [event("opened", ticket="t"), event("letter", ticket="t", kind="ack", to=[ANN], n=1,
                                            at=lambda at: at >= "2026-03-02T11:00:00Z")],
    ),
    Story(
        "S2-15",
        "A bounced confirmation marks the address and asks for a call",
        proof="tests/ticketing/mail/test_judge.py::test_a_bounce_marks_the_address_and_asks_for_a_call",
    ),
]  # fmt: skip


def _different(events):
    numbers = [one["number"] for one in events if one.get("event") == "opened"]
    assert len(set(numbers)) == 3


def _count(events, count):
    assert events[-1]["summary"]["tickets"] == count
