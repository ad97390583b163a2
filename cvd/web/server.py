"""An address on this machine, and the server behind it."""

import errno
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

import waitress

from cvd.runtime.errors import InputError

if TYPE_CHECKING:
    from flask import Flask

LIMITS = {
    "threads": 4,  # requests that are worked on; others wait without a thread
    "connection_limit": 900,  # at a time; further ones wait in the system's queue
    "channel_timeout": 30,  # seconds without a byte, after which a connection is closed
    "cleanup_interval": 5,  # seconds
    "inbuf_overflow": 2**18,  # bytes of an unfinished upload in memory; the rest is in a file without a name
    "outbuf_overflow": 2**22,
    "max_request_header_size": 2**15,
}


def is_loopback(host: str) -> bool:
    """True where only this machine can reach a host's address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int) -> socket.socket:
    """Take an address, before anything slow is done; browsers wait until `run_server`.

    Raises:
        InputError: the address cannot be had.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}: 0 (any that is free) to 65535")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"--port {port} is in use: end what uses it, or choose another, 0 for any") from error
        if error.errno == errno.EACCES:
            raise InputError(f"--port {port} is not allowed for you: choose 1024 or more") from error
        raise InputError(f"--host is {host!r}, no address of this machine: 127.0.0.1 is the usual one") from error


def format_address(opened: socket.socket) -> str:
    """Write the address as people type it into a browser."""
    host, port = opened.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def run_server(app: "Flask", opened: socket.socket, *, max_bytes: int) -> None:
    """Answer until Ctrl-C; what has more than `max_bytes` is not read. Requests are not logged: photos are private."""
    logging.getLogger("waitress").setLevel(logging.ERROR)
    with opened:
        server = waitress.create_server(
            app, sockets=[opened], ident="cvd", asyncore_use_poll=True, max_request_body_size=max_bytes, **LIMITS
        )
        server.run()
