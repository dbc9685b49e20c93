"""The address that the service listens on."""

import errno
import ipaddress
import socket

from serving.errors import CannotListen


def is_loopback(host: str) -> bool:
    """True if only this machine can reach an address or name.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_url(host: str) -> str:
    """Formats the host for a URL: an IPv6 address in brackets.

    >>> in_url("::1")
    '[::1]'
    """
    return f"[{host}]" if ":" in host else host


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to the address and not yet listening. Raises CannotListen."""
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
            f"Port {port} of {host} is in use; stop the program that listens there, or choose "
            "another port by --port (0 takes a free one)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs rights that this user does not have; choose one above 1023."
    return f"The service cannot listen on {host}: {error.strerror}; see --host."
