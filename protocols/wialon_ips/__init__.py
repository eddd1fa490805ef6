"""Wialon IPS 1.1 and 2.x: text lines over TCP and UDP, answered one by one."""

from protocols.registry import WireProtocol
from protocols.wialon_ips.declaration import tree
from protocols.wialon_ips.decoder import decode
from protocols.wialon_ips.session import new_session

PROTOCOL = WireProtocol(
    name="wialon-ips",
    port=20332,
    new_session=new_session,
    decode=decode,
    tree=tree,
    transports=("tcp", "udp"),
    closes_on_damage=False,
)

__all__ = ["PROTOCOL"]
