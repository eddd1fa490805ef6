"""What verdicts, reasons and questions of the inbox are called on its pages."""

from __future__ import annotations

from ticketing.kit.words import N_
from ticketing.mail.verdicts import Kind, Reason

VERDICTS: dict[str, str] = {
    Kind.OPENED: N_("opened a ticket"),
    Kind.APPENDED: N_("joined its ticket"),
    Kind.ANSWERED: N_("answered a question"),
    Kind.CONSENTED: N_("agreed to close"),
    Kind.DISPUTED: N_("disagreed"),
    Kind.REOPENED: N_("reopened its ticket"),
    Kind.FOLLOWED_UP: N_("opened a follow-up"),
    Kind.NOTED: N_("filed as a quiet note"),
    Kind.BOUNCED: N_("a letter that came back"),
    Kind.HELD: N_("waits for a person"),
    Kind.DROPPED: N_("left out"),
}
# How a verdict looks: as those of terminals do.
LOOKS: dict[str, str] = {Kind.HELD: "verdict-suspect", Kind.BOUNCED: "verdict-fail", Kind.DROPPED: "verdict-unknown",
                         Kind.NOTED: "verdict-unknown"}  # fmt: skip
REASONS: dict[str, str] = {
    Reason.OWN: N_("our own mail, which came round"),
    Reason.DUPLICATE: N_("the same mail came by another way too"),
    Reason.MUTED: N_("the third of one sender and subject in ten minutes"),
    Reason.MACHINE: N_("a program wrote it: it asks for nothing"),
    Reason.STRANGER: N_("it quotes a ticket in which its sender takes no part"),
    Reason.SPAM: N_("flagged as spam, and its sender is nobody we know"),
    Reason.UNREADABLE: N_("no sender, or nothing that can be read"),
    Reason.TOO_LARGE: N_("larger than the inbox takes"),
    Reason.REPLY: N_("a reply"),
    Reason.ANSWER: N_("the ticket waited for this answer"),
    Reason.FIXED: N_("it says that all is well"),
    Reason.NOT_FIXED: N_("it says that it is not fixed"),
    Reason.THANKS: N_("it says thanks"),
    Reason.UNCLEAR: N_("neither a clear yes nor a clear no"),
    Reason.LATE: N_("the ticket was closed too long ago"),
    Reason.FLIPS: N_("the ticket changed its state by mail too often within an hour"),
    Reason.HARD: N_("the address is dead"),
    Reason.SOFT: N_("the address may work again"),
    Reason.NEW: N_("about nothing that is open"),
    Reason.UNREGISTERED: N_("of an address that nobody registered"),
    Reason.DISMISSED: N_("somebody left it out"),
}
STEPS: dict[str, str] = {
    "own": N_("is it our own?"),
    "duplicate": N_("did it come before?"),
    "bounced": N_("did a letter come back?"),
    "program": N_("did a program write it?"),
    "unreadable": N_("can it be read?"),
    "loop": N_("does it go round?"),
    "stranger": N_("does its sender take part?"),
    "spam": N_("is it spam?"),
    "question": N_("does the ticket wait for it?"),
    "consent": N_("does it agree?"),
    "closed": N_("is the ticket closed?"),
    "reply": N_("is it a reply?"),
    "new": N_("is it new?"),
    "person": N_("a person decided"),
}
