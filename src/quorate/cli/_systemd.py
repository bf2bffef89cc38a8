"""What a service tells systemd: ready, what it does, that it lives, that it stops. Without systemd it says nothing.

The protocol of sd_notify(3): datagrams of ``NAME=value`` to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

__all__ = ["Notifier"]


class Notifier:
    """Speaks to the service manager, if there is one. ``watchdog``: within how many seconds to tell it again, or 0."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.path = environment.get("NOTIFY_SOCKET", "")
        wanted = environment.get("WATCHDOG_USEC", "")
        owner = environment.get("WATCHDOG_PID", "")
        mine = not owner or owner == str(os.getpid())
        self.watchdog = int(wanted) / 2e6 if self.path and wanted.isascii() and wanted.isdigit() and mine else 0.0

    def tell(self, **words: str) -> None:
        """Sends ``READY="1"``, ``STATUS="…"`` and the like. A manager that does not listen is none of our trouble."""
        if not self.path:
            return
        address = "\0" + self.path[1:] if self.path.startswith("@") else self.path
        text = "\n".join(f"{name}={value}" for name, value in words.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.sendto(text.encode(), address)
        except OSError:
            pass
