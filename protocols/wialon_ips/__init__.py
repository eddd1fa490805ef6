"""Wialon IPS 1.1 and 2.x: text lines over TCP and UDP, answered one by one."""

from protocols.commands import MAX_COMMAND, text_problem
from protocols.registry import WireProtocol
from protocols.wialon_ips.anatomy import anatomy
from protocols.wialon_ips.declaration import member_tree, tree
from protocols.wialon_ips.decoder import decode, parts
from protocols.wialon_ips.excerpts import ANSWER, PACKET, begins, missing_login
from protocols.wialon_ips.measures import MEASURES
from protocols.wialon_ips.session import new_session
from protocols.wialon_ips.wire import MAX_LINE

PROTOCOL = WireProtocol(
    name="wialon-ips",
    new_session=new_session,
    decode=decode,
    tree=tree,
    measures=MEASURES,
    max_frame=MAX_LINE,
    member=member_tree,
    missing_login=missing_login,
    packet_text=PACKET,
    answer_text=ANSWER,
    transports=("tcp", "udp"),
    command_problem=lambda text: text_problem(text, MAX_COMMAND),
    closes_on_damage=False,
    parts=parts,
    anatomy=anatomy,
    begins=begins,
    on_wire=lambda frame: frame.data + b"\r\n",
)

__all__ = ["PROTOCOL"]
