"""Omnicomm registrars (Profi, Optim, Lite and their successors) over TCP.

Modules: `framing` marker, escapes, checksum; `session` what answers what; `fields` the message's fields, measures and
scales; `parser` one message exactly; `odd` texts and lists; `columns` numbers to columns; `decoder` the whole.
`declaration` with `omnicomm.proto` is the readable truth and the oracle of the decoder.
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
