"""The service manager's socket: say that the mount is ready, what it is doing, and that it is alive.

The protocol is one datagram of NAME=VALUE lines (sd_notify(3)), so no library is needed for it. Without a
service manager nothing is sent. When to say what is decided elsewhere.
"""

import contextlib
import logging
import os
import socket
from collections.abc import MutableMapping
from typing import Self

log = logging.getLogger(__name__)

_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG_USEC = "WATCHDOG_USEC"
_WATCHDOG_PID = "WATCHDOG_PID"
_SEND_S = 1.0  # a manager that is busy for longer is no reason to stop serving
_STATUS_CHARACTERS = 400  # `systemctl status` shows one line


class ServiceManager:
    """Who started us and wants to hear from us; every message is lost in silence where there is nobody.

    Units: `watchdog_s` is the silence after which we count as hanging, None when nobody minds.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._pid = os.getpid()
        self.watchdog_s = watchdog_s

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self:
        """Return the manager that the environment names, and remove it there.

        A program that we start would speak for us, or feed a watchdog that is ours.
        """
        address = environ.pop(_SOCKET, "")
        period_us = environ.pop(_WATCHDOG_USEC, "")
        pid = environ.pop(_WATCHDOG_PID, "")
        if not address.startswith(("/", "@")):  # not of AF_UNIX: those are for virtual machines
            return cls()
        is_watched = period_us.isdecimal() and int(period_us) > 0 and pid in {"", str(os.getpid())}
        return cls(address, int(period_us) / 1e6 if is_watched else None)

    @property
    def is_there(self) -> bool:
        """Say whether somebody listens."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that the mount answers; a process forked since then says that it is the one to watch."""
        main_pid = [] if os.getpid() == self._pid else [f"MAINPID={os.getpid()}"]
        self._send("READY=1", f"STATUS={_line(status)}", *main_pid)

    def status(self, text: str) -> None:
        """Say what we are doing, in one line for a person."""
        self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1", f"STATUS={_line(status)}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        # A leading @ stands for the NUL of an address that is no file.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        with contextlib.closing(
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        ) as speaker:
            speaker.settimeout(_SEND_S)
            try:
                speaker.sendto("\n".join(assignments).encode(errors="replace"), address)
            except OSError as error:  # serving goes on; the manager draws its own conclusions
                log.warning("the service manager can't be told %s: %s", assignments[0], error)


def _line(text: str) -> str:
    """Return a text that is one line: what follows a line's end would be taken for another message."""
    return " ".join(text.split())[:_STATUS_CHARACTERS]
