"""Run the command line: `python -m fsmount`."""

from fsmount.cli import main

main()
