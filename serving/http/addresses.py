"""Where the service listens: whether others reach it there, and whether the port is free."""

import errno
import ipaddress
import socket

from serving.errors import CannotListen


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_url(host: str) -> str:
    """The host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def listener(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which does not listen yet. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise CannotListen(
            f"Expected an address of this machine, got {host!r}, which is none; see --host."
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CannotListen(_reason(host, port, error)) from error
    return bound


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use; stop what listens there, or choose another by "
            "--port (0 takes a free one)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that this user does not have; choose one above 1023."
    return f"Nothing can listen on {host}: {error.strerror}; see --host."
