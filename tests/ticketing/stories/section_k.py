"""K. Deferral or impossibility."""

from tests.ticketing.stories.story import ANN, CLIENT, Story, event, line, phone

OPEN = [
    *CLIENT,
    phone("03-02T10:00", "t"),
    line("03-02T10:10", "qualify", ticket="t", as_="igor", class_="hardware"),
    line("03-02T10:11", "take", ticket="t", as_="igor"),
]
DEFERRED = [event("state", ticket="t", to="deferred"), event("letter", ticket="t", kind="deferral", to=[ANN])]

STORIES = [
    Story(
        "S1-31",
        "Not reproducible: with the attempts and a day to look again, on which it is back in the queue",
        "support-procedure",
        [
            *OPEN,
            line("03-02T11:00", "defer", ticket="t", as_="igor", code="not_reproducible", text="three attempts"),
            line("03-02T11:01", "defer", ticket="t", as_="igor", code="not_reproducible",
                 until="2026-03-09T09:00:00+03:00"),
            line("03-02T11:02", "defer", ticket="t", as_="igor", code="not_reproducible", text="three attempts",
                 until="2026-03-09T09:00:00+03:00"),
            line("03-02T12:00", "queue", topic="support"),
            line("03-09T10:00", "queue", topic="support"),
        ],
        [
            event("refused", do="defer", status=422),
            event("refused", do="defer", status=422),
            *DEFERRED,
            event("queue", order=[]),
            event("state", ticket="t", to="in_work", at="2026-03-09T06:00:00Z"),
            event("task", ticket="t", kind="recheck"),
            event("queue", order=["t"]),
        ],
        letters={"ack": 1, "work_started": 1, "deferral": 1},
    ),
    Story(
        "S1-32",
        "Not enough data: only after the client was asked, item by item, and reminded",
        "support-procedure",
        [
            *OPEN,
            line("03-02T11:00", "defer", ticket="t", as_="igor", code="no_data"),
            line("03-02T11:10", "ask", ticket="t", as_="igor", items=["Since when?", "Which tyres?"]),
            line("03-20T11:10", "defer", ticket="t", as_="igor", code="no_data"),
        ],
        [
            event("refused", do="defer", status=409),
            event("letter", ticket="t", kind="question"),
            event("letter", ticket="t", kind="reminder"),
            *DEFERRED,
        ],
        letters={"ack": 1, "work_started": 1, "question": 1, "reminder": 3, "deferral": 1},
    ),
    Story(
        "S1-33",
        "Requirements of installation or use broken: with the rule and the proof",
        "support-procedure",
        [
            *OPEN,
            line("03-02T11:00", "defer", ticket="t", as_="igor", code="misuse", text="guide 3.1: upright"),
            line("03-02T11:01", "defer", ticket="t", as_="igor", code="misuse", proof="photo 17"),
            line("03-02T11:02", "defer", ticket="t", as_="igor", code="misuse", text="guide 3.1", proof="photo 17"),
        ],
        [event("refused", do="defer", status=422), event("refused", do="defer", status=422), *DEFERRED],
        letters={"ack": 1, "work_started": 1, "deferral": 1},
    ),
    Story(
        "S1-34",
        "Outside the scope: with the contract's clause; the client may object, and it is worked on again",
        "support-procedure",
        [
            *OPEN,
            line("03-02T11:00", "defer", ticket="t", as_="igor", code="out_of_scope"),
            line("03-02T11:01", "defer", ticket="t", as_="igor", code="out_of_scope", text="clause 4; at a price"),
            line("03-02T12:00", "note", ticket="t", as_="ann", text="We object."),
            line("03-02T13:00", "resume", ticket="t", as_="max", text="She is right."),
        ],
        [
            event("refused", do="defer", status=422),
            *DEFERRED,
            event("message", ticket="t", direction="in", public=True),
            event("state", ticket="t", to="in_work", by="max"),
        ],
        letters={"ack": 1, "work_started": 1, "deferral": 1},
    ),
]  # fmt: skip
