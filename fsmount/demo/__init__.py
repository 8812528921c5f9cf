"""API emulator and demonstration."""
