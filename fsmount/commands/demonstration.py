"""`fsmount demo`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from fsmount.errors import FsmountError

_PORT = validators.Number(gte=0, lte=65535)


def demo(
    mountpoint: Path | None = None,
    /,
    *,
    once: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    serve_only: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    port: Annotated[int, Parameter(metavar="N", show_default=False, validator=_PORT)] = 0,
) -> int:
    """Start the bundled API emulator with a small corpus, mount it and show around.

    Parameters
    ----------
    mountpoint
        Where to mount. Default: a temporary directory.
    once
        Show around and end.
    serve_only
        Run the emulator alone, and print its URL and keys.
    port
        Port of the emulator on 127.0.0.1. Default: any free one.
    """
    try:
        from fsmount.demo.tour import run_demo  # noqa: PLC0415 - needs the extra `demo`
    except ImportError as error:
        raise FsmountError(
            f"the demo needs {error.name}; install it with: pip install 'fsmount[demo]'"
        ) from error
    return run_demo(mountpoint, once=once, serve_only=serve_only, port=port)
