"""N-O. Outage letters; firmware check."""

from tests.ticketing.stories.story import ANN, CLIENT, TERMINAL, Story, event, line

STORIES = [
    Story(
        "S2-24",
        "Without service for more than an hour: one letter, a word of each new date, a word of the end",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T22:00", "service", up=False, eta="2026-03-03T02:00:00+03:00"),
            line("03-02T22:58", "crash"),
            line("03-02T23:30", "service", up=False, eta="2026-03-03T04:00:00+03:00"),
            line("03-03T03:00", "service", up=True),
        ],
        [
            event("outage", up=False),
            event("letter", kind="outage", to=[ANN], at="2026-03-02T20:00:00.000001Z"),
            event("letter", kind="outage_update", to=[ANN]),
            event("letter", kind="outage_end", to=[ANN]),
        ],
    ),
    Story(
        "S2-24",
        "An hour to the instant is no outage yet",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "service", up=False),
            line("03-02T11:00", "service", up=True),
            line("03-02T12:00", "service", up=False),
            line("03-02T12:59:59", "service", up=True),
        ],
        [event("outage", up=True), event("outage", up=True)],
    ),
    Story(
        "S2-24",
        "Back a minute after the hour: explained, once",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "service", up=False, terminals=[TERMINAL]),
            line("03-02T11:01", "service", up=True),
        ],
        [event("letter", kind="outage", to=[ANN]), event("letter", kind="outage_end", to=[ANN])],
    ),
    Story(
        "S2-3",
        "Old firmware first: the ticket opens with the task to update, and ends when the terminal is current",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="firmware"),
            line("03-02T11:00", "recovered", terminal=TERMINAL, kind="firmware"),
        ],
        [
            event("opened", ticket="t", **{"class": "software"}),
            event("task", ticket="t", kind="update"),
            event("state", ticket="t", to="recovering"),
            event("state", ticket="t", to="awaiting_consent"),
        ],
        letters={"ack": 1, "recovered": 1},
        until="03-02T12:00",
    ),
]  # fmt: skip
