"""docs/desk.md against the code: what it says of roles, states, keys and limits is so."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ticketing.core.outbox import GIVE_UP_AFTER
from ticketing.core.paging import PAGE_LIMIT
from ticketing.incidents.rules import RELAPSE_WINDOW
from ticketing.kit.access import RIGHTS
from ticketing.kit.asked import DEFAULT_LIMIT
from ticketing.kit.kept import LIFETIME
from ticketing.kit.rendering import STATES
from ticketing.kit.settings import DeskSettings
from ticketing.model.states import MOVES, PEOPLE, Action, State, relapsed_to
from ticketing.model.tickets import TEXT_LIMIT
from ticketing.people.passwords import Passwords
from ticketing.people.users import ROLES, Users

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "desk.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "ticketing" / "kit" / "static" / "desk.js").read_text(encoding="utf-8")
BASE = (ROOT / "ticketing" / "kit" / "templates" / "base.html").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The table under a heading, without its own."""
    part = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    return found[2:]


def test_every_role_is_told_what_it_may() -> None:
    told: dict[str, tuple[str, str]] = {}
    for names, sees, does in rows("Roles"):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = (sees, does)
    assert set(told) == set(ROLES)
    staff = {name for name, (_, does) in told.items() if does.startswith(("all", "every action of a ticket"))}
    for action in set(PEOPLE) - {Action.COMMAND}:  # which has a sentence of its own
        others = {name for name, (_, does) in told.items() if f"`{action}`" in does}
        assert RIGHTS[action] == staff | others, action
    outside = {name for name, (sees, _) in told.items() if "its" in sees.split()}
    for right in ("incidents", "quarantine", "bytes", "fleet"):
        assert RIGHTS[right] == set(told) - outside, right
    senders = re.search(r"((?:`\w+`(?: and )?)+) send terminals", GUIDE)
    assert senders is not None
    assert set(re.findall(r"`(\w+)`", senders[1])) == RIGHTS["command"]


def test_every_state_leads_on_as_the_table_says() -> None:
    told = {STATES_BY_WORDS[name]: leads for name, _, leads in rows("States of a ticket")}
    assert set(told) <= set(State)
    for state, leads in told.items():
        possible = {
            str(action)
            for action in (Action.TAKE, Action.ASK, Action.CONSENT, Action.CLOSE)
            if MOVES[action].leads.get(state, state) != state
            or (action is Action.CONSENT and state in MOVES[action].leads)
        }
        said = {str(action) for action in PEOPLE if re.search(rf"\b{action}\b(?!d)", leads)}
        assert said == possible, (state, leads)
        assert ("recovery" in leads) == (state == State.IN_WORK)
        assert ("relapse" in leads) == (relapsed_to(state, taken=True) != state)


STATES_BY_WORDS = {words.lower(): State(state) for state, words in STATES.items()}


def test_taking_works_in_every_open_state_and_a_note_changes_none() -> None:
    assert "`take` works in every open state" in GUIDE
    assert set(MOVES[Action.TAKE].leads) == set(State) - {State.CLOSED}
    assert "A note changes no state" in GUIDE
    assert MOVES[Action.NOTE].leads == {state: state for state in State}


def test_every_key_is_handled_and_shown() -> None:
    told = {key for keys, _ in rows("Keys") for key in re.findall(r"`([^`]+)`", keys)}
    assert told == {"/", "j", "k", "Esc", "?"}
    shown = set(re.findall(r"<kbd>([^<]+)</kbd>", BASE))
    assert shown == told | {"Enter"}
    handled = set(re.findall(r'event\.key === "([^"]+)"', SCRIPT))
    assert handled == (told - {"Esc"}) | {"Enter", "Escape"}


@pytest.mark.parametrize(
    ("text", "words", "value"),
    [
        (GUIDE, r"\((\w+) hours without use", "idle"),
        (GUIDE, r"without use, (\w+) days in any case", "lifetime"),
        (GUIDE, r"relapse within (\w+) days", RELAPSE_WINDOW // timedelta(days=1)),
        (GUIDE, r"can be reloaded for an? (hour)", LIFETIME / 3600),
        (GUIDE, r"one terminal every (\w+) seconds", DeskSettings().live),
        (API, r"`limit` says how many \((\d+), at most", DEFAULT_LIMIT),
        (API, r"`limit` says how many \(\d+, at most (\d+)\)", PAGE_LIMIT),
        (API, r"tried again for (\d+) hours", GIVE_UP_AFTER // timedelta(hours=1)),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_every_number_is_the_codes(text: str, words: str, value: Any) -> None:
    numbers = {"hour": 1, "three": 3, "seven": 7, "eight": 8}
    found = re.search(words, text)
    assert found is not None, "the page no longer says it"
    if isinstance(value, str):
        users = Users(None, passwords=Passwords())  # type: ignore[arg-type]
        users.close()
        value = users._idle // timedelta(hours=1) if value == "idle" else users.lifetime // timedelta(days=1)
    assert numbers.get(found[1], found[1]) in (value, str(value))


def test_the_forms_hold_texts_as_long_as_the_desk_takes() -> None:
    pages = [ROOT / "ticketing" / "desk" / "templates" / f"{name}.html" for name in ("ticket", "deeds", "portal")]
    for page in pages:
        areas = re.findall(r"<textarea [^>]*>", page.read_text(encoding="utf-8"))
        assert areas, page
        assert all(f'maxlength="{TEXT_LIMIT}"' in area for area in areas), page
