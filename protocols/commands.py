"""What holds for commands to terminals in every protocol: how long they may be, and of what."""

from __future__ import annotations

MAX_COMMAND = 512  # characters; terminals refuse longer ones


def text_problem(text: str, most: int) -> str:
    """Why `text` is no command; empty if it may be one.

    One line of printable characters: a line end would begin a command of its own, a control character has no business
    in one.
    """
    if not text.strip():
        return "a command has a text"
    if len(text) > most:
        return f"a command has at most {most} characters"
    if not text.isprintable():
        return "a command is one line of printable characters"
    return ""
