"""Run the command line: `python -m fsmount`, and the program `fsmount`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run it; Ctrl-C while it is being loaded is no more than Ctrl-C later."""
    try:
        from fsmount import cli  # noqa: PLC0415 - loading takes a moment
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
