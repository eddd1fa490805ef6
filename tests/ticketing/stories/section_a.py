"""A. Intake channels."""

from tests.ticketing.stories.story import ANN, CLIENT, Story, event, line

STORIES = [
    Story(
        "S0-15",
        "Requests are taken round the clock, also while nobody is at the desk",
        "integrator-standard",
        [
            *CLIENT,
            line("03-01T03:00", "intake", agents=0),
            line("03-01T03:00", "mail", ref="m", from_=ANN, subject="Truck", text="it is lost"),
            line("03-01T03:01", "ticket", ref="p", channel="phone", reporter="ann", subject="Fuel", code_word="birch"),
            line("03-01T03:02", "ticket", ref="w", channel="portal", as_="ann", subject="Map", description="white"),
            line("03-01T03:03", "take", ticket="m", as_="igor"),
        ],
        [
            event("opened", ticket="m", channel="mail", number=bool),
            event("opened", ticket="p", channel="phone", number=bool),
            event("opened", ticket="w", channel="portal", number=bool),
            event("refused", do="take", status=409),
        ],
        letters={"ack": 3},
    ),
    Story(
        "S1-7",
        "A letter to the support mailbox opens a ticket; the same letter again opens none",
        "support-procedure",
        [
            *CLIENT,
            line("03-02T10:00", "mail", ref="t1", from_=ANN, subject="Dead", text="since Monday",
                 headers={"Message-ID": "<one@acme.example>"}),
            line("03-02T10:05", "mail", ref="t2", from_=ANN, subject="Dead", text="since Monday",
                 headers={"Message-ID": "<one@acme.example>"}),
        ],
        [
            event("opened", ticket="t1", channel="mail"),
            event("letter", ticket="t1", kind="ack", to=[ANN]),
            event("dropped", reason="duplicate"),
        ],
        check=lambda events: _tickets(events, 1),
    ),
]  # fmt: skip


def _tickets(events, count):
    assert events[-1]["summary"]["tickets"] == count
