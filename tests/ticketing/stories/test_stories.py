"""Each requirement of the sections that are built, played on the desk itself."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.ticketing.stories.requirements import NOT_YET, REQUIREMENTS
from tests.ticketing.stories.story import Stage, problems
from tests.ticketing.stories.told import STORIES
from tools import compliance_doc

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def stage(shared_dsn):
    made = Stage(shared_dsn)
    yield made
    made.close()


@pytest.mark.parametrize("story", [s for s in STORIES if not s.proof], ids=lambda story: f"{story.id} {story.title}")
def test_the_story_is_told(stage, story):
    with capture_logs() as logs:
        events = stage.play(story)
    told = "\n".join(map(str, events))
    assert problems(story, events) == [], told
    if story.check is not None:
        story.check(events)
    assert [entry for entry in logs if entry["log_level"] in ("error", "critical")] == []


def test_every_requirement_of_a_built_section_has_a_story():
    told = {one for story in STORIES for one in story.id.split()}
    assert told <= set(REQUIREMENTS)
    assert [one for one in REQUIREMENTS if one not in told] == list(NOT_YET)


def test_a_proof_is_a_test_that_there_is():
    root = HERE.parents[2]
    for story in STORIES:
        if story.proof:
            path, _, name = story.proof.partition("::")
            assert f"def {name}(" in (root / path).read_text(), story.id


def test_the_committed_page_is_what_the_stories_say():
    assert compliance_doc.PAGE.read_text(encoding="utf-8") == compliance_doc.page()
