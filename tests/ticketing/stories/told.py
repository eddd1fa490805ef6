"""All stories there are, in the order of their sections."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.ticketing.stories.story import Story

STORIES: list[Story] = [
    story
    for file in sorted(Path(__file__).parent.glob("section_*.py"))
    for story in import_module(f"tests.ticketing.stories.{file.stem}").STORIES
]
