"""A process that has imported the gateway already, and forks into what `python -m gateway.cli …` would be.

Importing is most of what a start costs, and the tests start some hundreds. Each asks by one packet on the socket it was
given: a JSON object with `arguments`, `cwd` and `environment`, beside it the descriptors for 0, 1 and 2 and a pipe on
which come the new process's id and later, when it has ended, its wait status. It ends when the socket does; what it
started goes on, as after any test process that is killed.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from importlib import import_module

NUMBER = struct.Struct("=i")  # the process's id; its wait status
MOST = 1 << 20  # bytes of a request


def preload() -> None:
    """Everything a command or the service imports; only `gateway.cli` itself is left to be run."""
    import numpy as np

    import gateway.commands
    from protocols.registry import PROTOCOLS, protocol

    for module in pkgutil.iter_modules(gateway.commands.__path__):
        import_module(f"gateway.commands.{module.name}")
    import_module("gateway.service.app")
    for name in PROTOCOLS:
        protocol(name)
    np.random.seed()
    gc.collect()
    gc.freeze()


def serve(asked: socket.socket) -> list[str] | None:
    """Fork for each request; returns twice: in a new process its arguments, in this one None, at the end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    running: dict[int, int] = {}  # process id: its pipe
    with selectors.DefaultSelector() as selector:
        selector.register(asked, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
            while running:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                told = running.pop(pid)
                _tell(told, status)
                os.close(told)
            if asked not in ready:
                continue
            data, descriptors, _, _ = socket.recv_fds(asked, MOST, 4)
            if not data:
                return None
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (woken, wake, *running.values()):
                    os.close(other)
                selector.close()
                asked.close()
                return _become(json.loads(data), descriptors)
            running[pid] = descriptors[3]
            _tell(descriptors[3], pid)
            for descriptor in descriptors[:3]:
                os.close(descriptor)


def _tell(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody wants to know any more
        os.write(pipe, NUMBER.pack(number))


def _become(request: dict[str, object], descriptors: list[int]) -> list[str]:
    """The new process: its own directory, environment and standard streams."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[arg-type]
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    random.seed()
    return list(request["arguments"])  # type: ignore[call-overload]


def main() -> None:
    """Serve; a new process goes on as the command line."""
    preload()
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        sys.argv = ["dozor", *arguments]
        runpy.run_module("gateway.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
