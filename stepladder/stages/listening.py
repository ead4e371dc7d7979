"""Servers listen before they say where: a port that is taken is an error, and no address is told where another one answers."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, suppress
from typing import Any

import uvicorn

from stepladder.config import ConfigError

#: Connections that may wait to be accepted.
_BACKLOG = 2048
#: What a machine says of addresses that it does not have: a name may stand for some that it has and for others.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at `port` of every address that `host` stands for. Raises ConfigError when there is none, or one of them
    is taken."""
    with ExitStack() as stack:
        try:
            found = dict.fromkeys(
                (family, address[0]) for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
            sockets: list[socket.socket] = []
            for number, (family, address) in enumerate(found, 1):
                try:
                    sockets.append(socket.create_server((str(address), port), family=family, backlog=_BACKLOG))
                    stack.callback(sockets[-1].close)
                except OSError as error:
                    if error.errno not in _NOT_HERE or (number == len(found) and not sockets):
                        raise
        except OSError as error:
            why = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise ConfigError(f"nothing can listen at {host}:{port}: {why}") from error
        stack.pop_all()
        return sockets


def serve(app: Any, sockets: list[socket.socket], **options: Any) -> None:
    """Serve the application until interrupted; `options` are uvicorn's."""
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(app, log_level="warning", **options)).run(sockets=sockets)
