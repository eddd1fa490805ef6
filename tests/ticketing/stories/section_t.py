"""T. Audit and privacy."""

from tests.ticketing.stories.story import CLIENT, Story, event, line, mail, phone

POLITE = {"polite": True, "clear": True, "complete": True, "official": True}
STORIES = [
    Story(
        "S2-20",
        "Of what each person wrote in a month a share is drawn and reviewed by the lead, nobody reviews himself; "
        "whether the rate is met is told",
        "dealer-desk",
        [
            *CLIENT,
            *(
                one
                for n in range(11)
                for one in (
                    phone(f"03-{n + 2:02}T10:00", f"t{n}", subject=f"Question {n}"),
                    line(f"03-{n + 2:02}T10:01", "qualify", ticket=f"t{n}", as_="igor", class_="consulting"),
                    line(f"03-{n + 2:02}T10:02", "reply", ticket=f"t{n}", as_="igor", text=f"Answer {n}"),
                    line(f"03-{n + 2:02}T10:03", "withdraw", ticket=f"t{n}", as_="igor", reason="withdrawn"),
                )
            ),
            phone("03-20T10:00", "m"),
            line("03-20T10:01", "qualify", ticket="m", as_="max", class_="consulting"),
            line("03-20T10:02", "reply", ticket="m", as_="max", text="I look into it"),
            line("03-20T10:03", "withdraw", ticket="m", as_="max", reason="withdrawn"),
            phone("03-21T10:00", "open"),
            line("03-21T10:01", "qualify", ticket="open", as_="olga", class_="consulting"),
            line("03-21T10:02", "reply", ticket="open", as_="olga", text="Not closed in March"),
            line("03-31T23:59", "review", as_="max", engineer="igor", criteria=POLITE),
            line("04-01T00:01", "review", as_="igor", engineer="igor", criteria=POLITE),
            line("04-01T00:02", "review", as_="max", engineer="max", criteria=POLITE),
            line("04-01T00:03", "review", as_="max", engineer="igor", criteria={**POLITE, "polite": False}),
            line("04-01T00:04", "review", as_="max", engineer="igor", criteria=POLITE),
            line(
                "04-01T00:05", "review", as_="max", engineer="igor", criteria={**POLITE, "clear": False}, note="what?"
            ),
            line("04-01T00:06", "review", as_="max", engineer="igor", criteria=POLITE),
            line("04-01T00:07", "review", as_="max", engineer="olga", criteria=POLITE),
        ],
        [
            event("refused", do="review", status=404, at="2026-03-31T20:59:00Z"),
            event("refused", do="review", status=403, at="2026-03-31T21:01:00Z"),
            event("refused", do="review", status=403, at="2026-03-31T21:02:00Z"),
            event("refused", do="review", status=422, at="2026-03-31T21:03:00Z"),
            event("refused", do="review", status=404, at="2026-03-31T21:06:00Z"),
            event("refused", do="review", status=404, at="2026-03-31T21:07:00Z"),
        ],
        letters={"ack": 13, "reply": 13, "closed": 12},
        until="04-01T00:08",
        check=lambda events: _reviews(events, wanted=3, marked=2, passed=1),
    ),
    Story(
        "S2-20",
        "Replies in ready words, in the client's language, filled by the ticket alone",
        proof="tests/ticketing/quality/test_replies.py::test_a_template_is_filled_by_the_ticket_alone",
    ),
    Story(
        "S2-20",
        "Whether the sample of a month is met is told by person",
        proof="tests/ticketing/quality/test_reviews.py::test_the_rate_is_met_when_all_that_was_drawn_is_marked",
    ),
    Story(
        "S2-19",
        "A recorded call may be heard by an auditor, and each listening is on record",
        "dealer-desk",
        proof="tests/ticketing/recordings/test_recordings.py::test_whoever_listens_is_on_record_and_nobody_else_hears",
    ),
    Story(
        "S2-19",
        "When its time is over, a recording is deleted, and the journal says so",
        "dealer-desk",
        proof="tests/ticketing/recordings/test_recordings.py::test_retention_deletes_the_link_and_the_file_and_says_so",
    ),
    Story(
        "S2-21",
        "What staff write goes out in the desk's name alone",
        proof="tests/ticketing/letters/test_compose.py::test_nothing_that_people_write_becomes_a_header_markup_or_template",
    ),
    Story(
        "S4-38",
        "Whatever is done has its doer and its place in the ticket's chain",
        "after-sales",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            line("03-02T10:05", "take", ticket="t", as_="igor"),
            line("03-02T10:06", "fix", ticket="t", as_="olga", text="restarted"),
            line("03-02T10:07", "press", letter="t/recovered/1", button="fixed"),
        ],
        [
            event("state", ticket="t", to="in_work", by="igor"),
            event("state", ticket="t", to="awaiting_consent", by="olga"),
            event("state", ticket="t", to="closed", by="Ann"),
        ],
        letters={"ack": 1, "work_started": 1, "recovered": 1, "closed": 1},
        until="03-02T10:30",
    ),
    Story(
        "S4-38",
        "Tampering is found",
        proof="tests/ticketing/tickets/test_store.py::test_the_journal_is_append_only_and_chained",
    ),
]


def _reviews(events, **counts):
    assert events[-1]["summary"]["reviews"] == counts
