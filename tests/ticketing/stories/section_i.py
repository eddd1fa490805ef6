"""I. ETA and progress notices."""

from tests.ticketing.stories.story import ANN, BOB, CLIENT, Story, breach, event, line, mail, phone

STORIES = [
    Story(
        "S3-4",
        "No silence longer than an hour: work that nobody tells of is silence",
        "carrier-helpdesk",
        [
            *CLIENT,
            phone("03-02T10:00", "silent"),
            phone("03-02T10:00", "told", new=True),
            *(line("03-02T10:10", "qualify", ticket=ref, as_="igor", class_="network", component="terminal")
              for ref in ("silent", "told")),
            line("03-02T10:40", "note", ticket="silent", as_="igor", text="measured, changed the antenna"),
            line("03-02T10:40", "reply", ticket="told", as_="igor", text="We are at it."),
        ],
        [
            event("escalated", ticket="silent", tell="owner"),
            breach("silent", "update", "03-02T11:00"),
            breach("told", "update", "03-02T11:40"),
        ],
        letters={"ack": 2, "reply": 1},
        until="03-02T11:50",
    ),
    Story(
        "S3-17",
        "The client gets an approximate repair time; whoever names none is asked for it",
        "carrier-helpdesk",
        [
            *CLIENT,
            phone("03-02T10:00", "t"),
            line("03-02T10:10", "take", ticket="t", as_="igor"),
            line("03-02T11:30", "eta", ticket="t", as_="igor", eta="2026-03-02T16:00:00+03:00", basis="history"),
            line("03-02T15:00", "fix", ticket="t", as_="igor", text="a new antenna"),
        ],
        [
            event("task", ticket="t", kind="new-eta", at="2026-03-02T08:10:00Z"),
            event("letter", ticket="t", kind="eta", to=[ANN]),
        ],
        letters={"ack": 1, "work_started": 1, "eta": 1, "recovered": 1},
        until="03-02T17:00",
    ),
    Story(
        "S3-18",
        "When the repair time passes, one letter says that it takes longer, and a new time is due",
        "carrier-helpdesk",
        [
            *CLIENT,
            phone("03-02T10:00", "t"),
            line("03-02T10:10", "eta", ticket="t", as_="igor", eta="2026-03-02T12:00:00+03:00", basis="plan"),
            line("03-02T12:00", "crash"),
        ],
        [
            event("letter", ticket="t", kind="eta"),
            event("task", ticket="t", kind="new-eta", at="2026-03-02T09:00:00Z"),
            event("letter", ticket="t", kind="delay", to=[ANN], at="2026-03-02T09:00:00Z"),
        ],
        letters={"ack": 1, "eta": 1, "delay": 1},
        until="03-03T12:00",
    ),
    Story(
        "S2-25",
        "A dealer asks for a date: none is named before the developers have named one",
        "dealer-desk",
        [
            *CLIENT,
            mail("03-02T10:00", "t", subject="When?", text="When does the map show satellites?"),
            line("03-02T10:30", "qualify", ticket="t", as_="igor", class_="software"),
            line("03-02T10:40", "reply", ticket="t", as_="igor", text="No date is known yet; the developers name it."),
            line("03-02T10:45", "vendor", ticket="t", as_="igor", system="development"),
            line("03-09T10:00", "vendor-done", ticket="t", as_="igor", text="release 7"),
            line("03-09T10:10", "eta", ticket="t", as_="igor", eta="2026-04-01T10:00:00+03:00", basis="vendor"),
        ],
        [
            event("letter", ticket="t", kind="reply"),
            event("state", ticket="t", to="waiting_vendor"),
            event("state", ticket="t", to="in_work"),
            event("letter", ticket="t", kind="eta", at="2026-03-09T07:10:00Z"),
        ],
        never=[event("letter", kind="delay"), event("letter", to=[BOB])],
        letters={"ack": 1, "reply": 1, "progress": 1, "eta": 1},
    ),
    Story(
        "S2-26",
        "Archives are asked again at night alone, one at a time, in the order of requests",
        "dealer-desk",
        proof="tests/ticketing/reloads/test_queue.py::"
        "test_archives_are_asked_at_night_in_the_order_of_requests_one_at_a_time",
    ),
    Story(
        "S2-26",
        "The approximate dates move as the queue does",
        "dealer-desk",
        proof="tests/ticketing/reloads/test_queue.py::test_the_estimate_moves_with_the_queue",
    ),
    Story(
        "S2-26",
        "What a night does not finish goes on in the next one, and nothing is asked by day",
        "dealer-desk",
        proof="tests/ticketing/reloads/test_queue.py::"
        "test_no_command_outlives_the_night_and_the_job_goes_on_in_the_next",
    ),
]  # fmt: skip
