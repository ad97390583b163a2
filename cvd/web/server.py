"""An address on this machine, and the server behind it."""

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from werkzeug.serving import WSGIRequestHandler, make_server

from cvd.runtime.errors import InputError

if TYPE_CHECKING:
    from flask import Flask


class QuietHandler(WSGIRequestHandler):
    """Name no versions, drop browsers that stop sending, and write no log: what people show the page is theirs."""

    timeout = 30  # seconds, for a browser that stops in the middle of a photo

    def version_string(self) -> str:
        """Give the value of the header `Server`."""
        return "cvd"

    def log(self, type: str, message: str, *args: object) -> None:
        """Write nothing."""


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


def run_server(app: "Flask", opened: socket.socket) -> None:
    """Answer until Ctrl-C."""
    host, port = opened.getsockname()[:2]
    with opened:
        make_server(host, port, app, threaded=True, request_handler=QuietHandler, fd=opened.fileno()).serve_forever()
