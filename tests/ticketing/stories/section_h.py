"""H. Fault localisation and protocol."""

from tests.ticketing.stories.story import ANN, CLIENT, TERMINAL, Story, breach, event, instant, line, phone

STORIES = [
    Story(
        "S3-14",
        "Localisation starts with the entry: known at once or within the minute, else that is told",
        "carrier-helpdesk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="known", terminal=TERMINAL, kind="gnss", zone="gnss-antenna"),
            phone("03-02T10:00", "found", subject="Fuel"),
            phone("03-02T10:00", "dark"),
            line("03-02T10:00:40", "qualify", ticket="found", as_="igor", class_="hardware", component="sensor"),
        ],
        [
            event("stopped", ticket="known", clock="localisation", verdict="met", at="2026-03-02T07:00:00Z"),
            event("stopped", ticket="found", clock="localisation", verdict="met", at="2026-03-02T07:00:40Z"),
            breach("dark", "localisation", "03-02T10:01"),
        ],
        never=[event("breach", ticket="known"), event("breach", ticket="found")],
        letters={"ack": 3},
        until="03-02T10:05",
    ),
    Story(
        "S3-15",
        "What tells a zone is told, and right",
        proof="tests/gateway/simulator/test_month_signs.py::test_where_something_told_the_zone_is_named_right",
    ),
    Story(
        "S3-16",
        "The protocol of a ticket is only ever added to, and each entry holds the one before",
        proof="tests/ticketing/tickets/test_store.py::test_the_journal_is_append_only_and_chained",
    ),
    Story(
        "S1-4",
        "The error is registered, its cause found and a way around offered to the client",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "t"),
            line("03-02T10:05", "qualify", ticket="t", as_="igor", class_="software", component="platform"),
            line("03-02T10:10", "reply", ticket="t", as_="igor", text="Until it is mended use the old report."),
            line("03-05T10:10", "fix", ticket="t", as_="igor", text="release 7", cause="a wrong index",
                 workaround="the old report"),
        ],
        [event("letter", ticket="t", kind="reply", to=[ANN]), event("letter", ticket="t", kind="recovered", to=[ANN])],
        letters={"ack": 1, "reply": 1, "recovered": 1},
        until="03-05T12:00",
    ),
    Story(
        "S2-8",
        "The vendor is not asked before the case is checked: current data, fix, ports, firmware, or waived with a "
        "reason",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="silence"),
            line("03-02T10:05", "take", ticket="t", as_="igor"),
            line("03-02T10:06", "vendor", ticket="t", as_="igor", system="maker"),
            line("03-02T10:07", "waive", ticket="t", as_="igor", check="fix"),
            *(line("03-02T10:08", "waive", ticket="t", as_="igor", check=name, reason="measured on the bench")
              for name in ("last-packet", "fix", "ports", "firmware")),
            line("03-02T10:09", "vendor", ticket="t", as_="igor", system="maker"),
        ],
        [
            event("refused", do="vendor", status=409, reason=lambda why: "last-packet" in why and "firmware" in why),
            event("refused", do="waive", status=422),
            event("state", ticket="t", to="waiting_vendor", at="2026-03-02T07:09:00Z"),
        ],
        letters={"ack": 1, "work_started": 1, "progress": 1},
    ),
    Story(
        "S2-9 S1-4",
        "What is known of a fault is shown with the next one like it, and read before the vendor is asked; how often "
        "it is read and helps is told",
        "dealer-desk",
        [
            *CLIENT,
            phone("03-02T10:00", "first", subject="Engine hours stand still", description="the counter is frozen"),
            line("03-02T10:05", "qualify", ticket="first", as_="igor", class_="software", component="platform"),
            line("03-02T10:06", "fix", ticket="first", as_="igor", text="counted anew", cause="input 3 is set wrong",
                 workaround="count by ignition"),
            line("03-02T10:07", "consent", ticket="first", as_="igor", by="Ann", means="phone"),
            line("03-02T10:08", "learn", ticket="first", as_="igor", symptom="Engine hours frozen"),
            line("03-02T10:09", "close", ticket="first", as_="max"),
            line("03-02T10:10", "learn", ref="k1", ticket="first", as_="igor", symptom="Engine hours counter frozen",
                 link="https://docs.example/hours#input"),
            line("03-02T10:11", "learn", ticket="first", as_="olga", symptom="Again"),
            phone("03-03T10:00", "alike", subject="The engine hours counter is frozen"),
            phone("03-03T10:01", "other", subject="No map"),
            line("03-03T10:05", "vendor", ticket="alike", as_="igor", system="maker"),
            line("03-03T10:05", "vendor", ticket="other", as_="igor", system="maker"),
            line("03-03T10:06", "read", ticket="alike", as_="bob", known_error="k1"),
            line("03-03T10:07", "read", ticket="alike", as_="igor", known_error="k1"),
            line("03-03T10:08", "vendor", ticket="alike", as_="igor", system="maker"),
            line("03-03T10:09", "vendor-done", ticket="alike", as_="igor"),
            line("03-03T10:10", "helped", ticket="alike", as_="igor", known_error="k1"),
        ],
        [
            event("refused", do="learn", status=409, at="2026-03-02T07:08:00Z"),
            event("refused", do="learn", status=409, at="2026-03-02T07:11:00Z"),
            event("refused", ticket="alike", do="vendor", status=409, reason=lambda why: "documentation" in why),
            event("state", ticket="other", to="waiting_vendor", at="2026-03-03T07:05:00Z"),
            event("refused", ticket="alike", do="read", status=403),
            event("state", ticket="alike", to="waiting_vendor", at="2026-03-03T07:08:00Z"),
        ],
        never=[event("refused", ticket="other")],
        letters={"ack": 3, "recovered": 1, "closed": 1, "progress": 2},
        until="03-03T12:00",
        check=lambda events: _knowledge(events, suggested=1, read=1, helped=1),
    ),
    Story(
        "S2-9",
        "The hit rate of suggestions is told, of the tickets that one sees",
        proof="tests/ticketing/quality/test_known.py::test_the_hit_rate_counts_tickets",
    ),
    Story(
        "S1-4",
        "The workaround is offered with the next ticket like it",
        proof="tests/ticketing/quality/test_known.py::test_the_next_ticket_like_it_is_shown_the_workaround",
    ),
    Story(
        "S4-16",
        "Nothing is sent to a terminal before the client allowed it, after that ended, or once it was taken back",
        "after-sales",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="power"),
            line("03-02T10:05", "command", ticket="t", as_="igor", text="getinfo"),
            line("03-02T10:06", "permit", ticket="t", as_="igor", until=instant("03-02T12:00")),
            line("03-02T10:07", "permit", ticket="t", as_="igor", by="Ann", means="phone",
                 until=instant("03-02T12:00")),
            line("03-02T10:08", "command", ticket="t", as_="igor", text="getinfo"),
            line("03-02T10:09", "command", ticket="t", as_="ann", text="getinfo"),
            line("03-02T12:00", "command", ticket="t", as_="igor", text="getinfo"),
            line("03-02T12:10", "permit", ticket="t", as_="ann", until=instant("03-03T12:00"), text="only questions"),
            line("03-02T12:11", "command", ticket="t", as_="igor", text="getver"),
            line("03-02T12:12", "revoke", ticket="t", as_="ann"),
            line("03-02T12:13", "command", ticket="t", as_="igor", text="getver"),
        ],
        [
            event("refused", do="command", status=409, at="2026-03-02T07:05:00Z"),
            event("refused", do="permit", status=422, at="2026-03-02T07:06:00Z"),
            event("refused", do="command", status=403, at="2026-03-02T07:09:00Z"),
            event("refused", do="command", status=409, at="2026-03-02T09:00:00Z"),
            event("refused", do="command", status=409, at="2026-03-02T09:13:00Z"),
        ],
        never=[event("refused", at="2026-03-02T07:08:00Z"), event("refused", at="2026-03-02T09:11:00Z")],
        letters={"ack": 1},
        until="03-02T12:14",
    ),
    Story(
        "S4-16",
        "What was sent keeps the permission that it was sent under, and stands in the ticket's journal",
        proof="tests/ticketing/test_commands.py::test_the_clients_permission_where_the_policy_asks_for_it",
    ),
]  # fmt: skip


def _knowledge(events, **counts):
    assert events[-1]["summary"]["knowledge"] == counts
