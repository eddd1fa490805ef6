"""D. Confirmation."""

from tests.ticketing.stories.story import ANN, CLIENT, STRANGER, Story, event, line, mail, phone

STORIES = [
    Story(
        "S1-10",
        "Each request is confirmed by itself, once, whatever falls between its writing and its sending",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "p"),
            line("03-02T10:00", "crash"),
            mail("03-02T10:05", "m"),
            mail("03-02T10:06", "s", from_=STRANGER, subject="Hello"),
            line("03-02T10:07", "channel", name="mail", up=False),
            phone("03-02T10:08", "late", subject="Another"),
            line("03-02T10:30", "channel", name="mail", up=True),
        ],
        [
            event("letter", ticket="p", kind="ack", to=[ANN], at="2026-03-02T07:00:00Z"),
            event("letter", ticket="m", kind="ack", to=[ANN]),
            event("letter", ticket="s", kind="ack", to=[STRANGER]),
            event("letter", ticket="late", kind="ack", to=[ANN], at=lambda at: at >= "2026-03-02T07:30:00Z"),
        ],
        letters={"ack": 4},
    ),
    Story(
        "S1-12",
        "That work has begun is told when somebody begins, not by the automatic confirmation, and once",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "t"),
            line("03-02T11:00", "note", ticket="t", as_="igor", text="looks like the operator"),
            line("03-02T12:00", "take", ticket="t", as_="igor"),
            line("03-02T13:00", "take", ticket="t", as_="olga"),
        ],
        [
            event("letter", ticket="t", kind="ack", auto=True),
            event("stopped", ticket="t", clock="reaction-basic", at="2026-03-02T09:00:00Z"),
            event("letter", ticket="t", kind="work_started", to=[ANN], at="2026-03-02T09:00:00Z"),
        ],
        letters={"ack": 1, "work_started": 1},
    ),
]  # fmt: skip
