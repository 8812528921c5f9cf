"""The commands, one module for those that belong together: arguments in, exit code out.

Each imports what it runs when it runs: --help must not wait for libfuse.
"""
