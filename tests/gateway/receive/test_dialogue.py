"""Whose an answer is, where answers carry no number."""

from __future__ import annotations

import math

from gateway.receive.dialogue import FOLLOWING, OWN_PATIENCE, Dialogue
from gateway.store.dispatch import Claim
from protocols.records import Message


def said(text: str) -> Message:
    return Message(text.encode(), text, "codec 12", answer=True)


def asked(dialogue: Dialogue, number: int, until: float = 100.0) -> None:
    assert dialogue.free(until - 50)
    dialogue.take(Claim("T", number, "getinfo", 60.0), until)
    dialogue.wrote()


def test_the_next_answer_is_the_commands() -> None:
    dialogue = Dialogue()
    assert dialogue.silent
    asked(dialogue, 1)
    assert (dialogue.due, dialogue.free(1), dialogue.silent) == (100.0, False, False)
    assert dialogue.answered(one := said("1"), 1) is one
    assert dialogue.silent
    assert dialogue.due == math.inf
    assert dialogue.answered(said("again"), 2) is None
    asked(dialogue, 2)
    assert dialogue.answered(two := said("2"), 3) is two


def test_a_question_of_our_own_comes_first_and_is_waited_for_a_while() -> None:
    dialogue = Dialogue()
    dialogue.own(10)
    assert not dialogue.free(10 + OWN_PATIENCE - 0.1)
    assert dialogue.due == 10 + OWN_PATIENCE
    assert dialogue.answered(said("Ver:1"), 11) is None
    assert dialogue.free(11)
    assert dialogue.silent
    dialogue.own(20)
    asked(dialogue, 1, until=100)  # its patience is over
    assert dialogue.answered(said("Ver:1"), 60) is None
    assert dialogue.due == 60 + FOLLOWING
    assert dialogue.answered(mine := said("mine"), 61) is mine
    assert dialogue.silent


def test_after_one_without_answer_the_last_of_those_that_come_together_is_the_commands() -> None:
    for late in (["1"], ["1", "2"], []):
        dialogue = Dialogue()
        for number in (1, 2):
            asked(dialogue, number)
            assert dialogue.over(100) is None
            assert dialogue.command is None
            assert not dialogue.silent
        asked(dialogue, 3)
        for text in late:
            assert dialogue.answered(said(text), 60) is None
        found = dialogue.answered(mine := said("3"), 61)
        if len(late) == 2:
            assert found is mine
        else:
            assert found is None
            assert dialogue.due == 61 + FOLLOWING
            assert dialogue.over(61 + FOLLOWING) is mine
        assert dialogue.silent
        asked(dialogue, 4)
        assert dialogue.answered(mine := said("4"), 70) is mine


def test_late_answers_that_came_before_the_next_command_are_done_with() -> None:
    dialogue = Dialogue()
    asked(dialogue, 1)
    dialogue.over(100)
    assert dialogue.answered(said("late"), 101) is None
    assert dialogue.silent
    asked(dialogue, 2, until=200)
    assert dialogue.answered(mine := said("2"), 160) is mine


def test_what_is_held_is_the_answer_when_its_time_is_over() -> None:
    dialogue = Dialogue()
    asked(dialogue, 1)
    dialogue.over(100)
    asked(dialogue, 2, until=110)
    assert dialogue.answered(mine := said("2"), 109.5) is None
    assert dialogue.due == 110
    assert dialogue.over(110) is mine


def test_what_was_not_written_is_owed_nothing() -> None:
    dialogue = Dialogue()
    dialogue.take(Claim("T", 1, "getinfo", 60.0), 100.0)
    assert dialogue.answered(said("unasked"), 50) is None
    assert dialogue.over(100) is None
    assert dialogue.silent
