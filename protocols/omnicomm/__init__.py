"""Omnicomm registrars (Profi, Optim, Lite and their successors) over TCP.

Modules: `framing` marker, escapes, checksum; `session` what answers what; `fields` the message's fields, measures and
scales; `parser` one message exactly; `odd` texts and lists; `structures` messages that repeat, whole batches at once;
`columns` numbers to columns; `decoder` the whole. `declaration` with `omnicomm.proto` is the readable truth and the
oracle of the decoder.

Why not protobuf's own decoder: it reads a message in under a microsecond, but fetching its fields one by one costs ten
times that. Reading whole columns (`structures`) is faster even with the scaling and the columns included; the exact
parser behind it is slower than protobuf's, yet refuses what must be refused and sees only what does not repeat.
"""

from protocols.omnicomm.declaration import tree
from protocols.omnicomm.decoder import decode
from protocols.omnicomm.session import new_session
from protocols.registry import WireProtocol

PROTOCOL = WireProtocol(
    name="omnicomm",
    port=9977,
    new_session=new_session,
    decode=decode,
    tree=tree,
    transports=("tcp",),
    closes_on_damage=True,
)
