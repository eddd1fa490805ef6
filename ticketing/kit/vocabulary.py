"""Words for the closed lists of codes that pages show: what each is called, marked for the catalogues.

What a code is called elsewhere too (in the journal's sentences, in letters) stands with that feature.
"""

from __future__ import annotations

from ticketing.kit.words import N_
from ticketing.model.kinds import MASS, PLATFORM, STORM
from ticketing.model.states import Action, State

STATES: dict[str, str] = {
    State.NEW: N_("New"),
    State.IN_WORK: N_("In work"),
    State.WAITING_CLIENT: N_("Waiting for client"),
    State.WAITING_VENDOR: N_("Waiting for vendor"),
    State.VISIT: N_("Visit"),
    State.DEFERRED: N_("Deferred"),
    State.RECOVERING: N_("Recovering"),
    State.AWAITING_CONSENT: N_("Awaiting consent"),
    State.CLOSED: N_("Closed"),
}
PROMISES: dict[str, str] = {
    "running": N_("running"),
    "paused": N_("on hold"),
    "met": N_("in time"),
    "breached": N_("broken"),
    "unknown": N_("not known"),
}
VERDICTS: dict[str, str] = {"good": N_("good"), "suspect": N_("suspect"), "fail": N_("fail"), "unknown": N_("unknown")}
PRICES: dict[str, str] = {
    "free": N_("free of charge"),
    "cost": N_("at cost"),
    "visit-cost": N_("what the visit costs"),
    "quote": N_("to be agreed"),
    "in-warranty": N_("in warranty"),
    "after-warranty": N_("out of warranty"),
    "acceptance-unknown": N_("since when the warranty counts is not known"),
    "service-city": N_("in the service city"),
}
ROLES: dict[str, str] = {
    "admin": N_("admin"),
    "manager": N_("manager"),
    "engineer": N_("engineer"),
    "auditor": N_("auditor"),
    "crew": N_("crew"),
    "client": N_("client"),
}
ACTIONS: dict[str, str] = {
    Action.TAKE: N_("took the ticket"),
    Action.ASSIGN: N_("assigned the ticket"),
    Action.ESCALATE: N_("escalated"),
    Action.QUALIFY: N_("qualified"),
    Action.NOTE: N_("noted"),
    Action.REPLY: N_("replied"),
    Action.ASK: N_("asked the client"),
    Action.ANSWER: N_("answered"),
    Action.ETA: N_("promised a time"),
    Action.VENDOR: N_("handed over to the vendor"),
    Action.VENDOR_DONE: N_("has it back from the vendor"),
    Action.WAIVE: N_("waived a check"),
    Action.TASK_DONE: N_("did a task"),
    Action.DEFER: N_("deferred the ticket"),
    Action.RESUME: N_("resumed the ticket"),
    Action.VISIT: N_("planned a visit"),
    Action.VISIT_CONFIRMED: N_("confirmed the visit"),
    Action.VISIT_DONE: N_("ended the visit"),
    Action.VISIT_CANCELLED: N_("called the visit off"),
    Action.FIX: N_("reported it fixed"),
    Action.CONSENT: N_("recorded consent"),
    Action.DISPUTE: N_("disagreed"),
    Action.CLOSE: N_("closed the ticket"),
    Action.REOPEN: N_("reopened the ticket"),
    Action.WITHDRAW: N_("withdrew the ticket"),
    Action.MERGE: N_("merged the ticket"),
    Action.SPLIT: N_("split the ticket"),
    Action.LINK: N_("linked a ticket"),
    Action.PERMIT: N_("allowed work from afar"),
    Action.REVOKE: N_("allowed work from afar no more"),
    Action.COMMAND: N_("sent a command"),
    Action.ENTRUST: N_("entrusted access data"),
    Action.SECRET_SEEN: N_("read access data"),
    Action.SECRET_GONE: N_("erased access data"),
    Action.READ: N_("read a known error"),
    Action.HELPED: N_("was helped by a known error"),
    Action.LEARN: N_("made a known error of it"),
    Action.RELOAD_ASKED: N_("asked for the archive again"),
    Action.RELOAD_BEGUN: N_("began to re-load the archive"),
    Action.RELOAD_PUT_OFF: N_("put the re-loading off"),
    Action.RELOAD_ENDED: N_("ended the re-loading"),
    Action.RECORDED: N_("filed a call's recording"),
    Action.HEARD: N_("listened to a recording"),
    Action.UNRECORDED: N_("erased a recording"),
    Action.OPENED: N_("opened the ticket"),
    Action.MESSAGE: N_("filed a message"),
    Action.RECOVERING: N_("saw it return"),
    Action.RECOVERED: N_("saw recovery"),
    Action.RELAPSED: N_("saw a relapse"),
    Action.WARNED: N_("warned"),
    Action.BREACHED: N_("recorded a breach"),
    Action.STOPPED: N_("stopped a clock"),
    Action.CHANGED: N_("saw a change"),
    Action.DETACHED: N_("opened a ticket for a member"),
    Action.LETTER: N_("wrote a letter"),
    Action.REMINDED: N_("reminded"),
    Action.ESCALATED: N_("climbed a step"),
    Action.ETA_PASSED: N_("saw a promised time pass"),
    Action.RECHECK: N_("asked to look again"),
    Action.DEEMED: N_("took silence for consent"),
    Action.TASK: N_("set a task"),
    Action.CHECKED: N_("ran a check"),
}
KINDS: dict[str, str] = {  # of incidents; what detectors bring along is called as they say
    "silence": N_("Silence"),
    "firmware": N_("Firmware"),
    "fuel-sensor": N_("Fuel sensors"),
    "backlog": N_("Black box"),
    "clock": N_("Clock"),
    "gnss": N_("GNSS"),
    "identity": N_("Identity"),
    "modem": N_("Modem and link"),
    "power": N_("Power"),
    "restarts": N_("Restarts"),
    STORM: N_("Storm"),
    MASS: N_("Mass silence"),
    PLATFORM: N_("Platform"),
}
CLASSES = {"network": N_("network"), "hardware": N_("hardware"), "software": N_("software"),
           "consulting": N_("consulting")}  # fmt: skip
TOPICS = {"technical": N_("technical"), "finance": N_("finance"), "warranty": N_("warranty"), "letter": N_("letter"),
          "call-back": N_("call back")}  # fmt: skip
FREQUENCIES = {"once": N_("once"), "sometimes": N_("sometimes"), "often": N_("often"), "always": N_("always")}
# What a policy's form may ask for.
ITEMS = {
    "description": N_("what happens"), "steps": N_("what leads to it"), "frequency": N_("how often"),
    "server": N_("server address"), "version": N_("software version"), "criticality": N_("how critical it is"),
    "vehicle": N_("vehicle or terminal"), "contacts": N_("whom to call"), "attachments": N_("files"),
}  # fmt: skip
# Keys of evidence, of filters and of groups, and codes of single fields, as `label` makes them readable.
LABELS = (
    *(N_("Operator"), N_("Customer"), N_("Site"), N_("Region"), N_("Protocol"), N_("Model"), N_("Firmware")),
    *(N_("Stage"), N_("In use"), N_("Workshop"), N_("Season"), N_("Sold"), N_("Search"), N_("Terminal"), N_("Name")),
    *(N_("Verdict"), N_("Reason"), N_("Zone"), N_("Confidence"), N_("Storm"), N_("Group"), N_("Decision"), N_("By")),
    *(N_("Value"), N_("Silent"), N_("Expected"), N_("Share"), N_("Usual share"), N_("Score"), N_("Needed")),
    *(N_("Suspected, s"), N_("Explanations"), N_("Members"), N_("Failing"), N_("Rhythm"), N_("Connections")),
    *(N_("Records"), N_("Relapses"), N_("Identity"), N_("Version"), N_("Recommended"), N_("Mark"), N_("At")),
    *(N_("Time"), N_("Received"), N_("Opened at"), N_("Closed at"), N_("Address"), N_("Lat"), N_("Lon"), N_("Speed")),
    *(N_("Satellites"), N_("Queued"), N_("Sent"), N_("Done"), N_("Failed"), N_("Expired"), N_("Refuelling")),
    *(N_("Drain"), N_("Sensor"), N_("Kind"), N_("State"), N_("Age, s"), N_("Limit, s"), N_("Interval, s")),
)
REGIMES = (N_("moving"), N_("ignition on"), N_("just stopped"), N_("stopped"), N_("asleep"))
# What `spell` and the running clocks of pages count in.
SPAN_UNITS = {"d": N_("d"), "h": N_("h"), "min": N_("min"), "s": N_("s")}
UNITS = (N_("km/h"), N_("m"), N_("l"))
