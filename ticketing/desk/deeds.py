"""The forms of a ticket's page: one a thing to be done, with the fields that its body takes (`tickets.bodies`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ticketing.kit.vocabulary import CLASSES, ITEMS, TOPICS
from ticketing.kit.words import N_
from ticketing.model.states import Action

Input = Literal["text", "area", "select", "number", "instant"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in the body, what it is called, the values to choose from with their words."""

    name: str
    words: str
    kind: Input = "text"
    options: Mapping[str, str] = field(default_factory=dict)
    needed: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """One form: the action, its button's words, what it does, and whether the client gets to read what is typed."""

    action: Action
    words: str
    help: str
    fields: tuple[Field, ...] = ()
    public: bool = False


BASES = {"plan": N_("our plan"), "history": N_("past repairs"), "vendor": N_("the vendor's word")}
CODES = {"not_reproducible": N_("not reproducible"), "no_data": N_("no data from the client"),
         "misuse": N_("misuse"), "out_of_scope": N_("out of scope")}  # fmt: skip
MEANS = {"phone": N_("by phone"), "mail": N_("by mail"), "button": N_("by the button")}
VISITS = {"remote_failed": N_("remote work failed"), "hardware": N_("hardware"), "asked": N_("the client asked")}
WITHDRAWN = {"spam": N_("spam"), "duplicate": N_("duplicate"), "scrapped": N_("terminal out of service"),
             "withdrawn": N_("withdrawn by the client")}  # fmt: skip
LINKS = {"parent": N_("it is the parent"), "duplicate": N_("duplicate"), "split-from": N_("split from it"),
         "follow-up": N_("follows it up")}  # fmt: skip
SEEN = {"false": N_("the desk alone"), "true": N_("clients and crews too")}
_TEXT = Field("text", N_("Text"), "area", needed=True)
_WORD = Field("text", N_("Text"), "area")
_SCOPE = Field("text", N_("For what"), hint=N_("empty: whatever the ticket needs"))
_ENTRUSTED = (
    Field("label", N_("What for"), needed=True), Field("secret", N_("Access data"), "area", needed=True),
    Field("until", N_("Until"), "instant", hint=N_("empty: three days")),
)  # fmt: skip
_REASON = Field("reason", N_("Reason"), needed=True)

# Reply, note, take, consent in short, close, split, waive, revoke and task-done have places of their own on the page.
DEEDS: tuple[Deed, ...] = (
    Deed(Action.QUALIFY, N_("Qualify"), N_("Class and priority, before the first reply"), (
        Field("class", N_("Class"), "select", CLASSES),
        Field("topic", N_("Topic"), "select", TOPICS),
        Field("component", N_("Component")),
        Field("priority", N_("Priority"), "number"),
        Field("reason", N_("Reason"), hint=N_("for another priority")),
    )),
    Deed(Action.ASK, N_("Ask client"), N_("Wait for the client's answer"), (
        Field("items", N_("Questions"), "area", hint=N_("one a line"), needed=True),
    ), public=True),
    Deed(Action.ANSWER, N_("Enter an answer"), N_("The client answered by phone or otherwise"), (_WORD,)),
    Deed(Action.ETA, N_("Promise a time"), N_("When it will be right; the client is told"), (
        Field("eta", N_("It will be right at"), "instant", needed=True),
        Field("basis", N_("Known from"), "select", BASES),
        Field("text", N_("Words to the client"), "area"),
    ), public=True),
    Deed(Action.ASSIGN, N_("Assign"), N_("Give it to somebody"), (
        Field("owner", N_("Engineer")), Field("team", N_("Team")), Field("tier", N_("Tier"), "number"),
    )),
    Deed(Action.ESCALATE, N_("Escalate"), N_("To the next tier"), (_REASON, Field("tier", N_("Tier"), "number"))),
    Deed(Action.VENDOR, N_("Hand over to vendor"), N_("Wait for somebody else's work"), (
        Field("system", N_("System"), needed=True), Field("case", N_("Their case number")), _WORD,
    )),
    Deed(Action.VENDOR_DONE, N_("Back from vendor"), N_("The vendor has answered"), (_WORD,)),
    Deed(Action.VISIT, N_("Plan a visit"), N_("Somebody goes there"), (
        Field("reason", N_("Reason"), "select", VISITS, needed=True),
        Field("crew", N_("Crew")),
        Field("slot_from", N_("From"), "instant"), Field("slot_to", N_("To"), "instant"),
    )),
    Deed(Action.DEFER, N_("Defer"), N_("Look again later; the client is told"), (
        Field("code", N_("Why"), "select", CODES, needed=True),
        Field("until", N_("Until"), "instant"),
        Field("proof", N_("Proof")),
        Field("text", N_("Words to the client"), "area"),
    ), public=True),
    Deed(Action.RESUME, N_("Resume"), N_("Go on with it now"), (_WORD,)),
    Deed(Action.FIX, N_("Report as fixed"), N_("What was done; the client is asked to agree"), (
        _TEXT, Field("cause", N_("Cause")), Field("workaround", N_("Workaround")),
    )),
    Deed(Action.PERMIT, N_("Permission for work from afar"), N_("The client's word, before a command is sent"), (
        Field("by", N_("Whose word")), Field("means", N_("How"), "select", MEANS),
        Field("until", N_("Until"), "instant", needed=True),
        _SCOPE,
    )),
    Deed(Action.COMMAND, N_("Send a command"), N_("To the ticket's terminal; what is sent stands in the journal"), (
        Field("text", N_("Command"), needed=True),
    )),
    Deed(Action.ENTRUST, N_("Keep access data"), N_("Sealed, erased at their time or with the ticket"), _ENTRUSTED),
    Deed(Action.CONSENT, N_("Consent of"), N_("Who agreed, and how"), (
        Field("by", N_("Who agreed"), needed=True), Field("means", N_("How"), "select", MEANS, needed=True), _WORD,
    )),
    Deed(Action.DISPUTE, N_("Client disagrees"), N_("It is not fixed: back to work"), (_WORD,)),
    Deed(Action.LEARN, N_("Make a known error of it"), N_("So that the next one like it is mended sooner"), (
        Field("symptom", N_("Symptom"), "area", hint=N_("in words about no client"), needed=True),
        Field("cause", N_("Cause"), "area", hint=N_("empty: the ticket's")),
        Field("workaround", N_("Workaround"), "area", hint=N_("empty: the ticket's")),
        Field("link", N_("Documentation"), hint=N_("an address, https://…")),
        Field("public", N_("Who sees it"), "select", SEEN),
    )),
    Deed(Action.REOPEN, N_("Reopen"), N_("The same fault again"), (_TEXT,)),
    Deed(Action.LINK, N_("Link"), N_("With another ticket"), (
        Field("to", N_("Ticket number"), needed=True), Field("kind", N_("What it is"), "select", LINKS, needed=True),
    )),
    Deed(Action.MERGE, N_("Merge"), N_("This ticket ends, its words move to the other"), (
        Field("into", N_("Ticket number"), needed=True),
    )),
    Deed(Action.WITHDRAW, N_("Withdraw"), N_("End it without consent"), (
        Field("reason", N_("Reason"), "select", WITHDRAWN, needed=True), _WORD,
    )),
)  # fmt: skip
# What a client gives, on the page of its own: the word is that of who is signed in.
GIVEN: tuple[Deed, ...] = (
    Deed(Action.PERMIT, N_("Allow work from afar"), N_("Until then engineers may send the terminal commands"), (
        Field("until", N_("Until"), "instant", needed=True, hint=N_("90 days at most")), _SCOPE,
    )),
    Deed(
        Action.ENTRUST, N_("Hand over access data"),
        N_("Sealed, read by our staff alone, erased at their time or with the ticket"), _ENTRUSTED,
    ),
)  # fmt: skip
PLACED = (
    Action.TAKE, Action.NOTE, Action.REPLY, Action.CLOSE, Action.SPLIT, Action.WAIVE, Action.TASK_DONE,
    Action.READ, Action.HELPED, Action.REVOKE,
)  # fmt: skip
# Codes of a ticket's parts as its page calls them.
CALLED = {
    "owed": N_("on its way"), "sent": N_("sent"), "deferred": N_("tried again"), "refused": N_("refused"),
       "bounced": N_("came back"), "untold": N_("nobody to tell"), "digested": N_("in a digest"),
    "green": N_("green"), "red": N_("red"), "unknown": N_("unknown"), "waived": N_("waived"),
    "last-packet": N_("packets are current"), "fix": N_("position is valid"), "ports": N_("ports are plausible"),
       "firmware": N_("firmware is current"), "documentation": N_("what is known was looked into"),
    "call": N_("phone the client"), "new-eta": N_("promise a time"), "recheck": N_("look again"),
       "loan-unit": N_("give a loan unit"), "swap": N_("replace the unit"), "update": N_("update the firmware"),
    **CLASSES, **TOPICS, **BASES, **CODES, **LINKS,
    **ITEMS,
    **MEANS, "portal": N_("in the portal"), "phoned": N_("by phone"), "explicit": N_("in writing"),
}  # fmt: skip


def possible(actions: Iterable[Action], deeds: Iterable[Deed] = DEEDS) -> list[Deed]:
    """The forms for what can be done, in the order of the page."""
    can = set(actions)
    return [deed for deed in deeds if deed.action in can]
