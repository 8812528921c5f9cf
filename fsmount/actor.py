"""Who acts: for entries about what a person did, and for those who find a case in use."""

import getpass
import os
import socket

import fsmount


def user_name() -> str:
    """Return who runs this; a uid without a name is told as its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def actor() -> dict[str, object]:
    """Return who acts, with which version and where."""
    return {
        "version": fsmount.__version__,
        "user": user_name(),
        "uid": os.getuid(),
        "host": socket.gethostname(),
    }
