"""An HTTP server inside our loop, on a socket bound beforehand so that its port is known."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from gateway.configuration.values import Address, Network
from gateway.errors import GatewayError
from gateway.parts import Supervisor
from gateway.service.guard import Guard

# Anybody can cause it, as often as he likes.
logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != "Invalid HTTP request received.")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the service's


class WebServer:
    """Serves one application until stopped; should the server fail, it is started again on the same socket."""

    def __init__(self, name: str, address: Address, supervisor: Supervisor, trusted: Sequence[Network] = ()) -> None:
        """`name` is that of its part and of its table in the configuration.

        `trusted`: proxies whose word for who asks counts; from anybody else it is what the socket says.
        """
        self._name = name
        self._supervisor = supervisor
        self._stopping = False
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address.host, address.port))
        except OSError as error:
            self._socket.close()
            raise GatewayError(f"cannot listen on {address}: {error.strerror}; take another {name}.address") from error
        self.address = Address(address.host, self._socket.getsockname()[1])
        self._trusted = trusted
        self._guard = Guard(trusted)
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self, app: ASGIApp) -> None:
        """Serve in the background."""
        self._task = asyncio.create_task(self._supervisor.keep(self._name, lambda: self._serve(app)))
        self._sweeping = asyncio.create_task(self._supervisor.keep(f"{self._name} deadlines", self._guard.sweep))

    async def _serve(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http=self._guard.connection,  # type: ignore[arg-type]  # it is called, whatever it is
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(self._trusted),
            forwarded_allow_ips=[str(network) for network in self._trusted],
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)
        await self._server.serve(sockets=[self._socket.dup()])  # which closes what it is given
        if not self._stopping:
            raise RuntimeError("the web server ended by itself")

    async def stop(self) -> None:
        """Finish requests under way and close."""
        self._stopping = True
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
        self._socket.close()
