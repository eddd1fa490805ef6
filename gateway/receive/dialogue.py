"""What of ours a terminal has not answered on its connection, and whose an answer is.

Answers carry no number. A terminal gives them in the order it was asked, but may leave one out, or be so late that its
command's time was over. So one command is outstanding at a time, and where an answer to something earlier may still
come, the first one that comes is believed to be the command's only when no other follows it.
"""

from __future__ import annotations

import math

from gateway.store.dispatch import Claim
from protocols.records import Message

OWN_PATIENCE = 3.0  # s for the answer to a question of the gateway's own; then commands go out all the same
FOLLOWING = 2.0  # s in which a second answer follows a first that was somebody else's


class Dialogue:
    """One connection's; times are the loop's, s.

    Attributes
    ----------
    command : the one claimed for it and not settled; None: there is none.
    until : when its time is over.
    written : it went out.
    """

    __slots__ = ("_held", "_held_until", "_owed", "_own_until", "command", "until", "written")

    def __init__(self) -> None:
        self._own_until = 0.0  # a question of the gateway's own is out, and has so long
        self._owed = 0  # answers to earlier questions that may still come
        self._held: Message | None = None  # an answer of which it is not known yet whose it is
        self._held_until = 0.0
        self.command: Claim | None = None
        self.until = 0.0
        self.written = False

    def own(self, now: float) -> None:
        """A question of the gateway's own goes out."""
        self._own_until = now + OWN_PATIENCE

    def free(self, now: float) -> bool:
        """Whether a command may be claimed."""
        return self.command is None and now >= self._own_until

    def take(self, command: Claim, until: float) -> None:
        """It is to be sent."""
        self.command, self.until, self.written = command, until, False

    def wrote(self) -> None:
        """It went out."""
        self.written = True
        if self._own_until:
            self._own_until = 0.0
            self._owed += 1

    def answered(self, message: Message, now: float) -> Message | None:
        """Take an answer; the command's own, if that is clear."""
        if self._own_until:
            self._own_until = 0.0
        elif self.command is None or not self.written:
            self._owed = max(0, self._owed - 1)
        elif self._held is not None:  # that one was to something earlier
            self._owed -= 1
            return self._hold(message, now)
        else:
            return self._hold(message, now)
        return None

    def _hold(self, message: Message, now: float) -> Message | None:
        if not self._owed:
            self._settled()
            return message
        self._held, self._held_until = message, now + FOLLOWING
        return None

    def over(self, now: float) -> Message | None:
        """It is time, or the end: what was held was the command's answer. None: there is none; it stays unanswered."""
        held = self._held
        if held is not None:
            self._owed = 0
        elif self.written:
            self._owed += 1
        self._settled()
        return held

    def _settled(self) -> None:
        self.command = self._held = None
        self.written = False

    @property
    def due(self) -> float:
        """When it is `over`, or, without a command, when one may be claimed; infinite: never."""
        if self.command is not None:
            return self.until if self._held is None else min(self.until, self._held_until)
        return self._own_until or math.inf

    @property
    def silent(self) -> bool:
        """Whether there is nothing to remember."""
        return self.command is None and not self._own_until and not self._owed
