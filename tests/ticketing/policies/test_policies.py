"""The five presets as the regulations promise them, and every complaint about a wrong file with its line."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from ticketing import policies
from ticketing.policies import check
from ticketing.policies import format as formats
from ticketing.working_time.errors import ClockInputError, PolicyError
from ticketing.working_time.time_zones import MINUTE
from tools import policies_doc

H = 60

# Regulation, calendar, zone, then each clock: kind, minutes or days, requirements.
PROMISED = {
    "integrator-standard": ("S0", "RU", "Europe/Moscow", "reaction-remote", {
        "reaction-remote": ("working", 4 * H, "S0-5"),
        "reaction-on-site": ("working", 24 * H, "S0-7"),
    }),
    "support-procedure": ("S1", "RU", "Asia/Yekaterinburg", "reaction-basic", {
        "reaction-basic": ("working", 16 * H, "S1-23 S1-26"),
        "reaction-standard": ("working", 8 * H, "S1-23 S1-26"),
        "reaction-priority": ("working", 2 * H, "S1-23 S1-26"),
    }),
    "dealer-desk": ("S2", "RU", "Europe/Moscow", None, {
        "official-letter": ("working-days", 3, "S2-23"),
        "outage-letter": ("real", 60, "S2-24"),
    }),
    "carrier-helpdesk": ("S3", "BY", "Europe/Minsk", "localisation", {
        "localisation": ("real", 1, "S3-14"),
        "update": ("real", 60, "S3-4"),
        "call-back": ("real", 30, "S3-27"),
        "swap-1": ("real", 4 * H, "S3-24"),
        "swap-2": ("real", 8 * H, "S3-24"),
        "swap-3": ("working", 16 * H, "S3-24"),
        "swap-4": ("working", 40 * H, "S3-24"),
    }),
    "after-sales": ("S4", "CN", "Asia/Shanghai", "reply", {
        "reply": ("real", 10, "S4-22 S4-23"),
        "reaction": ("real", 30, "S4-9"),
        "urgent": ("real", 60, "S4-21"),
        "severe": ("real", 120, "S4-22"),
        "reaction-after-warranty": ("real", 60, "S4-12"),
        "loan-unit": ("real", 120, "S4-47"),
        "outer-bound": ("real", 24 * H, "S4-40"),
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMISED)
def test_preset_holds_what_its_regulation_promises(name):
    source, calendar, place, ticket_clock, promised = PROMISED[name]
    policy = policies.get(name)
    assert (policy.reference, policy.file.source, policy.ticket_clock) == (f"{name}@1", source, ticket_clock)
    work = policy.working_time
    assert (work.calendar.name, work.zone.key) == (calendar, place)
    assert (work.hours, work.weekdays) == (((540, 1080),), frozenset(range(5)))
    found = {
        clock: (
            str(terms.budget.kind),
            terms.budget.amount if terms.budget.kind == "working-days" else terms.budget.amount // MINUTE,
            " ".join(terms.table.requirements),
        )
        for clock, terms in policy.clocks.items()
    }
    assert found == promised
    assert list(found) == list(promised)  # the order is the regulation's: the first may be a ticket's own clock


def test_only_the_loan_unit_fires_at_due():
    firing = {name for policy in policies.shipped() for name, terms in policy.clocks.items() if terms.fires == "at"}
    assert firing == {"loan-unit"}


def test_what_the_desk_will_read_is_there():
    procedure, carrier, sales = map(policies.get, ("support-procedure", "carrier-helpdesk", "after-sales"))
    assert [plan.clocks for plan in procedure.file.plan] == [
        ["reaction-priority"], ["reaction-standard"], ["reaction-basic"],
    ]  # fmt: skip
    assert max(procedure.file.channel, key=lambda channel: channel.rank).name == "portal"
    assert procedure.file.form.software == ["server", "version"]
    assert [entry.clocks for entry in carrier.file.priority] == [["swap-1"], ["swap-2"], ["swap-3"], ["swap-4"]]
    assert carrier.file.consent.accepted == ["explicit", "phoned"]
    assert sales.file.priority_rule.set_by == "client"
    assert [step.after for step in sales.file.ladder[0].steps] == ["5m", "15m", "30m"]
    assert [tier.level for tier in sales.file.tier] == [1, 2, 3]
    assert (sales.file.price.visit_after, carrier.file.eta.mandatory_within) == ("visit-cost", "60m")


@pytest.mark.parametrize("name", policies.PRESETS)
def test_a_preset_is_whole_and_names_its_own_regulation(name):
    file = policies.get(name).file
    assert file.letter
    assert file.consent
    assert file.ladder
    assert len(file.tier) >= 2
    assert {"portal", "mail", "phone", "monitoring"} <= {channel.name for channel in file.channel}
    assert [deferral.code for deferral in file.deferral] == ["not_reproducible", "no_data", "misuse", "out_of_scope"]
    named = re.findall(r"S\d-\d+", policies.source(name))
    assert {clause.split("-")[0] for clause in named} == {file.source}
    assert len(set(named)) >= 7


def test_no_two_presets_are_alike():
    for key in ("clock", "consent", "form", "price", "ladder", "tier", "letter"):
        found = [msgspec.json.encode(getattr(policy.file, key)) for policy in policies.shipped()]
        assert len(set(found)) == 5, key


STORED = sorted(Path(__file__).with_name("stored").glob("*.json"))


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_what_earlier_releases_stored_can_still_be_read(path):
    """The five presets as releases before format 2 kept them with their tickets."""
    content = msgspec.json.decode(path.read_bytes())
    policy = policies.of_stored(content)
    assert policy.file.before
    assert (policy.name, policy.ticket_clock) == (content["name"], content["ticket_clock"])
    assert [{"budget": t.table.budget, "name": n} for n, t in policy.clocks.items()] == [
        {"budget": clock["budget"], "name": clock["name"]} for clock in content["clock"]
    ]
    assert len(policy.file.letter) == len(content["letter"])
    assert len(policy.file.deferral) == len(content["deferral"])
    again = policies.of_stored(policy.as_json())
    assert again.file == policy.file


def test_today_s_files_of_before_are_told_what_is_called_otherwise(tmp_path):
    path = write(tmp_path, GOOD.replace('kind = "ack"', 'name = "receipt"\ntrigger = "ticket-opened"'))
    (complaint,) = policies.problems(path)
    assert "[letter]" in str(complaint)


def test_no_clock_is_ever_guessed():
    for name in ("support-procedure", "after-sales"):
        with pytest.raises(ClockInputError, match="has no clock 'resolution'"):
            policies.get(name).clock("resolution")


GOOD = """\
name = "own"
version = 2
title = "Own rules"
source = "contract 7"
ticket_clock = "reply"

[working_time]
calendar = "BY"
time_zone = "Europe/Minsk"
hours = "10:00-19:00"
days = "Mon-Sat"

[[clock]]
name = "reply"
kind = "working"
budget = "90m"
starts = "ticket-opened"

[[exception]]
date = 2026-08-03
open = false
reason = "day of the company"

[[tier]]
level = 1
name = "first"
duty = "answers"

[[ladder]]
name = "up"
clock = "reply"
steps = [{ tell = "tier", tier = 1, percent = 50 }]

[[letter]]
kind = "ack"
to = ["reporter"]

[consent]
accepted = ["explicit"]
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_own_file_with_own_days(tmp_path):
    policy = policies.load(write(tmp_path, GOOD))
    assert policy.reference == "own@2"
    assert not policy.working_time.calendar.judge(policy.file.exception[0].date, frozenset(range(5))).working
    assert policies.problems(write(tmp_path, GOOD)) == []
    book = policies.PolicyBook([*policies.shipped(), policy])
    assert book.get("own") is policy
    assert book.get("own@2") is policy
    newer = policies.load(write(tmp_path, GOOD.replace("version = 2", "version = 3")))
    book.add(newer)
    assert book.get("own") is newer
    assert book.get("own@2") is policy
    changed = policies.load(write(tmp_path, GOOD.replace("90m", "91m")))
    with pytest.raises(ClockInputError, match="exists with other content"):
        book.add(changed)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('budget = "90m"', 'budget = "0m"', 16, "not above zero"),
        ('budget = "90m"', 'budget = "3d"', 16, "wrong unit"),
        ('budget = "90m"', "budget = 90", 16, "Expected `str`, got `int`"),
        ('budget = "90m"\n', "", 13, "missing required field `budget`"),
        ('budget = "90m"', 'bugdet = "90m"\nbudget = "1h"', 16, "unknown field `bugdet`"),
        ('kind = "working"', 'kind = "busy"', 15, "Invalid enum value 'busy'"),
        ('starts = "ticket-opened"', 'starts = "whenever"', 17, "Invalid enum value 'whenever'"),
        ('starts = "ticket-opened"', 'starts = "ticket-opened"\nwarn_at = [75, 50]', 18, "no rising list"),
        ('starts = "ticket-opened"', 'starts = "diagnosis"', 5, "does not start when a ticket opens"),
        ('ticket_clock = "reply"', 'ticket_clock = "answer"', 5, "no clock 'answer'"),
        ('name = "own"', 'name = "Own!"', 1, "is no name"),
        ("version = 2", "version = 0", 2, "below 1"),
        ("version = 2", 'version = "2"', 2, "Expected `int`"),
        ("version = 2", "version = ", 2, "not TOML"),
        ('title = "Own rules"', "", 1, "missing required field `title`"),
        ('title = "Own rules"', 'title = "Own rules"\ntittle = 1', 4, "unknown field `tittle`"),
        ('calendar = "BY"', 'calendar = "DE"', 8, "unknown calendar 'DE'"),
        ("Europe/Minsk", "Europe/Minks", 9, "unknown time zone"),
        ("10:00-19:00", "10:00-19:00,24:00-24:00", 10, "24:00 cannot open a day"),
        ("Mon-Sat", "", 11, "a week without a working day"),
        ("date = 2026-08-03", 'date = "soon"', 20, "Invalid RFC3339"),
        ("open = false", 'open = false\nhours = "09:00-10:00"', 22, "a closed day has none"),
        ("open = false", 'open = true\nhours = "22:00-06:00"', 19, "leave the day"),
        ('reason = "day of the company"', 'reason = " "', 22, "it is empty"),
        ("level = 1", "level = 0", 25, "below 1"),
        ('clock = "reply"\nsteps', 'clock = "gone"\nsteps', 31, "no clock 'gone'"),
        ("tier = 1, percent", "tier = 9, percent", 32, "no tier 9"),
        ("percent = 50", "percent = 150", 32, "percent 150"),
        ("percent = 50", 'percent = 50, after = "1h"', 32, "not both"),
        ("percent = 50", 'after = "1d"', 32, "wrong unit"),
        ('steps = [{ tell = "tier", tier = 1, percent = 50 }]', "steps = []", 32, "there are none"),
        ('to = ["reporter"]', "to = []", 36, "nobody gets it"),
        ('to = ["reporter"]', 'to = ["reporter"]\n[[letter]]\nkind = "ack"\nto = ["owner"]', 38, "'ack' stands twice"),
        ('kind = "ack"', 'kind = "receipt"', 35, "Invalid enum value 'receipt'"),
        ('accepted = ["explicit"]', "accepted = []", 39, "no ticket could ever close"),
        ('accepted = ["explicit"]', 'accepted = ["deemed"]', 38, "goes with"),
        ('accepted = ["explicit"]', 'accepted = ["explicit"]\nreminders = ["2h"]', 40, "wrong unit"),
        ('accepted = ["explicit"]', 'accepted = ["explicit"]\nreminders = ["1d","2d","3d","4d"]', 40, "4 of them"),
        ("[consent]", "[form]\nversion = 0\n[consent]", 39, "below 1"),
        ("[consent]", '[form]\nsoftware = ["server", "server"]\n[consent]', 39, "stands twice"),
        ("[consent]", '[form]\nall = ["colour"]\n[consent]', 39, "Invalid enum value 'colour'"),
        ("[consent]", '[eta]\nmandatory_within = "1d"\n[consent]', 39, "wrong unit"),
        ("[consent]", '[eta]\nmandatory_within = "1h"\nbasis = []\n[consent]', 40, "there is none"),
        ("[consent]", "[price]\nwarranty_years = -1\n[consent]", 39, "outside 0 to 100"),
        ("[consent]", '[price]\ncity_days = "Someday"\n[consent]', 39, "weekday"),
        ("[consent]", '[price]\nvisit = "cheap"\n[consent]', 39, "Invalid enum value 'cheap'"),
        ("[consent]", '[[deferral]]\ncode = "misuse"\nneeds = "attempts"\n[consent]', 40, "does not rest on attempts"),
        ("[consent]", '[[channel]]\nname = "web"\nrank = 10\n[consent]', 40, "outside 0 to 9"),
        ("[consent]", '[priority_rule]\nset_by = "client"\n[consent]', 39, "no level to choose"),
        ('starts = "ticket-opened"', 'starts = "ticket-opened"\nreplaces = "gone"', 18, "no other clock 'gone'"),
        ('starts = "ticket-opened"', 'starts = "ticket-opened"\nreplaces = "reply"', 18, "no other clock 'reply'"),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_remedy(tmp_path, old, new, line, said):
    assert GOOD.count(old) >= 1
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(PolicyError) as caught:
        policies.load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.remedy


def test_all_complaints_at_once_in_order(tmp_path):
    text = GOOD.replace("Europe/Minsk", "Nowhere").replace('"90m"', '"0m"').replace("version = 2", "version = 0")
    assert [complaint.line for complaint in policies.problems(write(tmp_path, text))] == [2, 9, 16]


@pytest.mark.parametrize(
    ("raw", "line", "said"),
    [
        (b'name = "\xff"', 1, "not UTF-8"),
        (b"a = 1\n" * 200_000, 1, "bytes"),
        (b"", 1, "missing required field"),
        (b"clock = 5", 1, "Expected `array`, got `int`"),
        (b'name = "a', 1, "not TOML"),
    ],
)
def test_what_is_no_policy_at_all(tmp_path, raw, line, said):
    (complaint,) = policies.problems(write(tmp_path, raw))
    assert said in str(complaint)
    assert complaint.line == line


def test_clock_and_exception_stand_once(tmp_path):
    clock = '[[clock]]\nname = "reply"\nkind = "working"\nbudget = "90m"\nstarts = "ticket-opened"\n'
    day = '[[exception]]\ndate = 2026-08-03\nopen = false\nreason = "again"\n'
    found = [str(complaint) for complaint in policies.problems(write(tmp_path, GOOD + clock + day))]
    assert len(found) == 2
    assert all("stands twice" in text for text in found)


def test_the_page_explains_every_word_that_needs_it():
    explained = {word for words in policies_doc.WORDS.values() for word in words}
    needing = (formats.Start, formats.Stop, formats.State, formats.Recipient, formats.Price)
    assert {word for hint in needing for word in get_args(hint)} <= explained
    assert set(check.NEEDS.values()) <= explained
    assert policies_doc.PAGE.read_text() == policies_doc.page()
