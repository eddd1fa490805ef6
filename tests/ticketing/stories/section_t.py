"""T. Audit and privacy."""

from tests.ticketing.stories.story import CLIENT, Story, event, line, mail

STORIES = [
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
