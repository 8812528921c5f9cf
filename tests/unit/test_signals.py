"""No signal ends the process between mounting and unmounting; each is tried in a process of its own."""

import signal
import subprocess
import sys

import pytest

from fsmount.signals import unfreezing, wanted_end_signals

BEGIN = """
import os, signal, sys, time
from fsmount.signals import *
me, ends = os.getpid(), wanted_end_signals()
heard = []
def note(number, _frame): heard.append(signal.Signals(number).name)
"""


def outcome(program: str, *wrapper: str) -> tuple[int, str]:
    """Run a program and return its exit code and what it printed."""
    command = [*wrapper, sys.executable, "-c", BEGIN + program]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=20, check=False, text=True)
    return done.returncode, done.stdout.strip()


def test_signals_that_come_early_wait_for_their_handler():
    """What asks for the end while mounting is under way is heard when somebody listens."""
    program = """
hold_back(ends)
for number in ends: os.kill(me, number)
print(heard, end=" ")
handle(ends, note)
print(sorted(heard))
"""
    assert (0, "[] ['SIGHUP', 'SIGINT', 'SIGTERM']") == outcome(program)


def test_signals_without_a_listener_change_nothing():
    """After the listener is gone, the end is under way."""
    program = """
hold_back(ends)
let_through(ends)
for number in ends: os.kill(me, number)
print("still here")
"""
    assert (0, "still here") == outcome(program)


def test_signals_at_the_very_end_do_not_spoil_the_exit_code():
    """The interpreter takes its handlers away before it is gone."""
    program = """
import atexit, threading
hold_back(ends)
let_through(ends)
ignore(ends)
class Last:
    def __del__(self, kill=os.kill):
        for number in (15, 2, 1): kill(me, number)
last = Last()
"""
    assert (0, "") == outcome(program)


def test_programs_that_are_started_hear_signals_as_usual():
    """Only handlers are set, and those are not inherited; nothing is ignored."""
    program = """
import subprocess
hold_back(ends)
let_through(ends)
child = subprocess.Popen(["sleep", "60"])
child.terminate()
print(child.wait(10))
"""
    assert (0, "-15") == outcome(program)


@pytest.mark.parametrize(("how", "expected"), [("default", True), ("ignore", False)])
def test_nohup_is_obeyed(how, expected):
    """Who starts a program under nohup wants it to outlive the terminal."""
    wrapper = ["env", "--default-signal=INT", f"--{how}-signal=HUP"]
    assert (0, str(expected)) == outcome("print(signal.SIGHUP in ends)", *wrapper)


def test_ctrl_c_and_sigterm_always_mean_the_end():
    """A script's background job ignores Ctrl-C, and is still to be ended by it when that is sent."""
    assert {signal.SIGTERM, signal.SIGINT} <= set(wanted_end_signals())


def test_a_blocked_read_is_interrupted_every_few_seconds():
    """This is what ends the library's wait for a request that is not there any more."""
    program = """
import ctypes, errno, fsmount.signals
fsmount.signals._UNFREEZE_S = 0.1
libc = ctypes.CDLL(None, use_errno=True)
read_fd, _ = os.pipe()
with unfreezing():
    for _ in range(2):
        assert libc.read(read_fd, ctypes.create_string_buffer(1), 1) == -1
        print(errno.errorcode[ctypes.get_errno()], end=" ")
"""
    assert (0, "EINTR EINTR") == outcome(program)


def test_the_timer_ends_with_its_context():
    """Nothing else in the process is interrupted."""
    before = signal.getsignal(signal.SIGALRM)
    with unfreezing():
        assert signal.getitimer(signal.ITIMER_REAL)[1] > 0
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
    assert before == signal.getsignal(signal.SIGALRM)
