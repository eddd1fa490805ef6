"""Time one public decoder: ``python -m bench.public.run PROTOCOL FRAMES SECONDS``; prints one JSON line.

Runs where the package is importable. Imports it, the standard library, and for Omnicomm the message type alone.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path


def teltonika(frames: list[bytes]) -> dict[str, Callable[[], int]]:
    """mgf-tele-teltonika."""
    from mgf.tele.teltonika.codec import decode_avl_packet, decode_codec8

    return {
        "": lambda: sum(len(decode_avl_packet(frame)[1]) for frame in frames),
        ", without its checksum": lambda: sum(len(decode_codec8(frame[9:-4])) for frame in frames),
    }


def omnicomm(frames: list[bytes]) -> dict[str, Callable[[], int]]:
    """omnicomm, with the message type of the compiled protobuf."""
    from omnicomm.protocol import ServerProtocol
    from omnicomm.registry import reg_fw_cmd

    from protocols.omnicomm.omnicomm_pb2 import RecReg

    reg_fw_cmd.register(0x86, RecReg)
    return {"": lambda: sum(len(ServerProtocol.unpack(frame)[0].value["msgs"]) for frame in frames)}


def main(protocol: str, file: str, seconds: str) -> None:
    """Print records per second of each way."""
    frames = [bytes.fromhex(line) for line in Path(file).read_text().split()]
    ways = {"teltonika": teltonika, "omnicomm": omnicomm}[protocol](frames)
    told = {}
    for name, work in ways.items():
        records, took = work(), []
        end = time.perf_counter() + float(seconds)
        while len(took) < 3 or time.perf_counter() < end:
            begun = time.thread_time()
            work()
            took.append(time.thread_time() - begun)
        told[name] = records / statistics.median(took)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
