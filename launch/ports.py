"""Ports of this machine for processes that are to find each other."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [int(each.getsockname()[1]) for each in sockets]
