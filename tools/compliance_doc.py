"""Writes docs/compliance.md: every requirement of the regulations, and the story or test that shows it.

python -m tools.compliance_doc          writes the page
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.ticketing.stories.requirements import NOT_YET, REQUIREMENTS, SECTIONS
from tests.ticketing.stories.told import STORIES, Story

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "compliance.md"
HEAD = """# What the regulations ask, and what shows it

Requirements of five published support regulations (S0 an integrator's service standard, S1 a support procedure, S2 a
vendor's rules for dealers, S3 a carrier's helpdesk, S4 an after-sales commitment), by section. Each is shown by a
story, played on the desk itself with a virtual clock in `tests/ticketing/stories`, or by a test that is named. Made by
`python -m tools.compliance_doc`.
"""


def page() -> str:
    """The page's text."""
    shown = len(REQUIREMENTS) - len(NOT_YET)
    parts = [HEAD, f"{shown} of {len(REQUIREMENTS)} requirements are shown; {len(NOT_YET)} are not yet.\n"]
    for letter, title in SECTIONS.items():
        parts += [f"## {letter}. {title}\n", "| requirement | says | shown by |\n|---|---|---|", *_rows(letter), ""]
    return "\n".join(parts)


def _rows(letter: str) -> Iterator[str]:
    for identity, (section, text) in REQUIREMENTS.items():
        if section == letter:
            yield f"| {identity} | {_cell(text)} | {'<br>'.join(_shown(identity))} |"


def _shown(identity: str) -> Iterator[str]:
    if identity in NOT_YET:
        yield f"not yet: {_cell(NOT_YET[identity])}"
    for story in STORIES:
        if identity in story.id.split():
            yield _one(story)


def _one(story: Story) -> str:
    if not story.proof:
        return f"{_cell(story.title)} ({story.policy})"
    path, _, name = story.proof.partition("::")
    return f"{_cell(story.title)} ([`{name}`](../{path}))"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
