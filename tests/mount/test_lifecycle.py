"""The life of a mount: starting, staying alive under trouble, ending, and coming back."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsmount.demo.contents import PatternContent
from fsmount.mountpoint import find_mount
from tests.support.emulator import RunningEmulator
from tests.support.faults import hang, stall_after
from tests.support.mounts import free, require_fuse, run, state_of, wait_until

MIB = 1 << 20
REPOSITORY = Path(__file__).parents[2]
FSMOUNT = [sys.executable, "-m", "fsmount"]


def add(emulator: RunningEmulator, size: int = 1000, name: str = "a.bin") -> str:
    """Add a file and return its id."""
    content = PatternContent(size)
    return emulator.corpus.add_file(content, filename=name, mime_type="text/plain")


def wait_gone(process: subprocess.Popen[bytes], within_s: float) -> float:
    """Wait for a process's end and return how long it took; fail when it takes longer."""
    started = time.monotonic()
    process.wait(within_s)
    return time.monotonic() - started


def test_the_kernel_reads_in_large_pieces(mount, emulator):
    """What the kernel reads at once is raised, and stays so: its own limits are set by then."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        found = find_mount(mounted.path)
        assert found is not None
        setting = Path(f"/sys/class/bdi/0:{found.number}/read_ahead_kb")
        expected = "512" if os.access(setting, os.W_OK) else "128"  # only root may set it
        assert expected == setting.read_text().strip()


@pytest.mark.parametrize("where", ["open", "read", "lookup", "listing", "stat"])
def test_a_killed_reader_is_gone_within_a_second(mount, emulator, where):
    """Kill -9 works wherever a program waits: on a record, on an unknown size, on a body."""
    size = 64 * MIB if where == "read" else 1000
    overrides = {"size_bytes": None} if where == "stat" else {}
    file_id = emulator.corpus.add_file(
        PatternContent(size), filename="a.bin", mime_type="text/plain", **overrides
    )
    other = add(emulator)
    is_listed = where != "lookup"
    with mount(emulator, ids=[file_id, other] if is_listed else [other]) as mounted:
        path = mounted.path / file_id
        if where in {"open", "read", "stat"}:
            os.listdir(path)
        emulator.faults.add(hang(), path=file_id, times=None)
        emulator.log.reset()
        command = {
            "lookup": ["stat", path],
            "listing": ["ls", path],
            "stat": ["stat", path / "a.bin"],
        }
        reader = subprocess.Popen(
            command.get(where, ["cat", path / "a.bin"]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        emulator.log.wait_for(1)
        time.sleep(0.5)
        assert reader.poll() is None
        reader.kill()
        assert wait_gone(reader, 5) < 1.0
        assert 1000 == len((mounted.path / other / "a.bin").read_bytes())


def test_a_hanging_file_blocks_nobody_else(mount, emulator):
    """With 150 readers stuck on one file, another is read within 3 s and stat answers within 0.1 s."""
    stuck = add(emulator, 64 * MIB)
    small_stuck = add(emulator)
    known, fresh = add(emulator), add(emulator)
    for file_id in (stuck, small_stuck):
        emulator.faults.add(hang(), path=f"{file_id}/content", times=None)
    with mount(emulator, ids=[stuck, small_stuck, known, fresh]) as mounted:
        for file_id in (stuck, small_stuck, known):
            os.listdir(mounted.path / file_id)
        (mounted.path / known / "a.bin").read_bytes()
        readers = [
            subprocess.Popen(
                ["cat", str(mounted.path / (stuck if n % 2 else small_stuck) / "a.bin")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for n in range(150)
        ]
        try:
            time.sleep(1.5)
            slowest = 0.0
            for _ in range(20):
                started = time.monotonic()
                os.stat(mounted.path / known / "a.bin")
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < 0.1
            started = time.monotonic()
            assert 0 == run(["cat", mounted.path / fresh / "a.bin"], timeout_s=10).returncode
            assert time.monotonic() - started < 3
        finally:
            for reader in readers:
                reader.kill()
            for reader in readers:
                reader.wait(10)


def test_sigterm_ends_cleanly_with_files_open_and_the_service_hanging(mount, emulator):
    """The mount is gone within 20 s, the exit code is 0, and stuck readers get an error."""
    stuck = add(emulator, 64 * MIB)
    emulator.faults.add(hang(), path="/content", times=None)
    with mount(emulator, ids=[stuck]) as mounted:
        os.listdir(mounted.path / stuck)
        reader = subprocess.Popen(
            ["cat", str(mounted.path / stuck / "a.bin")], stderr=subprocess.DEVNULL
        )
        cwd_inside = subprocess.Popen(["sleep", "60"], cwd=mounted.path)
        emulator.log.wait_for(1, "content")
        try:
            assert 0 == mounted.terminate(within_s=20)
            assert find_mount(mounted.path) is None
            assert 0 != reader.wait(5)
        finally:
            reader.kill()
            cwd_inside.kill()
            cwd_inside.wait(5)


def test_after_a_crash_the_next_mount_clears_the_way(mount, emulator):
    """A dead mount is cleared and said so; verified bytes are kept, unfinished ones are not."""
    verified, unfinished = add(emulator), add(emulator, 64 * MIB, "big.bin")
    emulator.faults.add(stall_after(MIB), path=f"{unfinished}/content", times=None)
    with mount(emulator, ids=[verified, unfinished]) as mounted:
        (mounted.path / verified / "a.bin").read_bytes()
        with (mounted.path / unfinished / "big.bin").open("rb") as file:
            file.read(100)
        time.sleep(0.5)
        assert list((mounted.case / "spool").iterdir())
        mounted.kill()
        with pytest.raises(OSError, match="Transport endpoint"):
            os.listdir(mounted.path)
        emulator.log.reset()
        with mount(emulator, may_log=["cleared the dead mount", "did not end well"]) as again:
            assert "cleared the dead mount" in again.log
            assert 1000 == len((again.path / verified / "a.bin").read_bytes())
            assert 0 == emulator.log.count()
            assert not list((again.case / "spool").iterdir())


def test_the_background_mount_answers_when_the_command_returns(emulator, tmp_path):
    """`fsmount mount` returns 0 once the mount answers; `fsmount unmount` ends its process."""
    require_fuse()
    file_id = add(emulator)
    (tmp_path / "ids").write_text(file_id)
    (tmp_path / "key").write_text(emulator.read_key)
    (tmp_path / "key").chmod(0o600)
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    options = [
        "--base-url",
        emulator.url,
        "--key-file",
        tmp_path / "key",
        "--ids-file",
        tmp_path / "ids",
    ]
    command = [*FSMOUNT, "mount", tmp_path / "case", mountpoint, *options]
    try:
        done = run(command, timeout_s=20)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
        assert 1000 == len((mountpoint / file_id / "a.bin").read_bytes())
        second = run([*FSMOUNT, "mount", tmp_path / "case", tmp_path, *options], timeout_s=20)
        assert (1, True) == (second.returncode, b"is not empty" in second.stderr), second.stderr
        (tmp_path / "mnt2").mkdir()
        second = run(
            [*FSMOUNT, "mount", tmp_path / "case", tmp_path / "mnt2", *options], timeout_s=20
        )
        assert (1, True) == (second.returncode, b"in use: mounted at" in second.stderr), (
            second.stderr
        )
        done = run([*FSMOUNT, "unmount", mountpoint], timeout_s=30)
        assert (0, b"") == (done.returncode, done.stderr)
        assert find_mount(mountpoint) is None
        assert 0 == run(command, timeout_s=20).returncode
        assert 0 == run([*FSMOUNT, "unmount", mountpoint], timeout_s=30).returncode
    finally:
        free(mountpoint)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (Path.exists, "does not exist"),
        (lambda path: path.touch(), "not a directory"),
        (lambda path: (path.mkdir(), (path / "x").touch()), "not empty"),
    ],
)
def test_an_unusable_mountpoint_is_one_clear_line(emulator, tmp_path, prepare, message):
    """What is wrong and how to mend it, exit code 1, no traceback."""
    prepare(tmp_path / "mnt")
    done = run([*FSMOUNT, "mount", tmp_path / "case", tmp_path / "mnt", "--offline", "-f"])
    assert 1 == done.returncode
    lines = done.stderr.decode().splitlines()
    assert (1, True) == (len(lines), message in lines[0]), lines


def test_a_case_in_its_own_mountpoint_is_refused(tmp_path):
    """The mount would wait for itself, for ever; nothing is written into the directory."""
    done = run([*FSMOUNT, "mount", tmp_path, tmp_path, "--offline", "-f"])
    assert (1, True) == (done.returncode, b"would be hidden" in done.stderr), done.stderr
    assert [] == os.listdir(tmp_path)


def test_mounting_over_the_current_directory_works(emulator, tmp_path):
    """The process leaves the place, and imports nothing from it, which would wait for itself."""
    file_id = add(emulator)
    (tmp_path / "key").write_text(emulator.read_key)
    (tmp_path / "key").chmod(0o600)
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    options = ["--base-url", emulator.url, "--key-file", tmp_path / "key"]
    try:
        # `python -m` puts the current directory first in the module path.
        command = ["env", f"PYTHONPATH={REPOSITORY}", *FSMOUNT, "mount", tmp_path / "case", "."]
        done = run([*command, *options], cwd=mountpoint, timeout_s=20)
        assert (0, b"") == (done.returncode, done.stderr)
        done = run(["cat", mountpoint / file_id / "a.bin"], timeout_s=10)
        assert (0, 1000) == (done.returncode, len(done.stdout))
        done = run([*FSMOUNT, "unmount", mountpoint], timeout_s=40)
        assert (0, b"") == (done.returncode, done.stderr)
    finally:
        free(mountpoint)


def test_unmounting_what_is_not_ours_is_refused(tmp_path):
    """Other mounts, and plain directories, are left alone."""
    for path in (tmp_path, Path("/proc")):
        done = run([*FSMOUNT, "unmount", path])
        assert 1 == done.returncode
        assert 1 == len(done.stderr.decode().splitlines())


def test_unmounting_clears_a_dead_mount_at_once(mount, emulator):
    """After a crash there is no process to wait for."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        mounted.kill()
        started = time.monotonic()
        done = run([*FSMOUNT, "unmount", mounted.path], timeout_s=30)
        assert (0, b"") == (done.returncode, done.stderr)
        assert time.monotonic() - started < 5
        assert find_mount(mounted.path) is None


def test_unmounting_a_busy_mount_ends_its_process(mount, emulator):
    """Programs with files open get some seconds; then the process ends, and with it the case is free."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        inside = subprocess.Popen(["sleep", "60"], cwd=mounted.path)
        try:
            done = run([*FSMOUNT, "unmount", mounted.path], timeout_s=40)
            assert 0 == done.returncode
            assert find_mount(mounted.path) is None
            assert 0 == mounted.wait(within_s=1)
        finally:
            inside.kill()
            inside.wait(5)


def test_a_link_to_the_mountpoint_is_as_good_as_its_path(mount, emulator, tmp_path):
    """The mount table knows the real path only; mounting, ending and unmounting go through links."""
    (tmp_path / "real").mkdir()
    (tmp_path / "mnt").symlink_to(tmp_path / "real")
    with mount(emulator, ids=[add(emulator)]) as mounted:
        assert find_mount(tmp_path / "real")
        assert 0 == run([*FSMOUNT, "unmount", mounted.path], timeout_s=40).returncode
        assert 0 == mounted.wait(within_s=5)
        assert find_mount(tmp_path / "real") is None


def test_a_mountpoint_in_use_is_named_with_the_way_out(mount, emulator, tmp_path):
    """The second mount says what is there already; it does not look into it, which could hang."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        done = run([*FSMOUNT, "mount", tmp_path / "other", mounted.path, "--offline", "-f"])
        assert 1 == done.returncode
        [line] = done.stderr.decode().splitlines()
        assert f"fsmount unmount {mounted.path}" in line


@pytest.mark.parametrize("case", ["case", "F\u00e4lle, \u6848 #1"])
def test_an_aborted_connection_ends_the_process_with_an_error(mount, emulator, case):
    """When the kernel cuts the mount off, the process says so and exits with 1, for a supervisor to act.

    It does not wait for what is under way: nobody can be answered any more.
    """
    file_id = add(emulator, 64 * MIB)
    emulator.faults.add(hang(), path="/content", times=None)
    with mount(emulator, ids=[file_id], case=case, may_log=["cut the connection"]) as mounted:
        os.listdir(mounted.path / file_id)
        path = mounted.path / file_id / "a.bin"
        with subprocess.Popen(["cat", path], stderr=subprocess.DEVNULL) as reader:
            emulator.log.wait_for(1, "content")
            mounted.abort()
            assert 0 != reader.wait(5)
        assert 1 == mounted.wait(within_s=8)
        assert "cut the connection" in mounted.log
        assert find_mount(mounted.path) is None
        mounted.may_end_with = {1}
    emulator.faults.clear()
    with mount(emulator, case=case) as again:
        assert 1 == len(os.listdir(again.path))


def test_an_unmount_from_outside_ends_the_process_cleanly(mount, emulator):
    """`umount` is as good a way to end as any."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        assert 0 == run(["umount", mounted.path], timeout_s=20).returncode
        assert 0 == mounted.wait(within_s=10)


def test_a_signal_during_the_start_leaves_nothing_mounted(mount, emulator):
    """From the moment something is mounted, a signal unmounts it; it does not just end the process."""
    mounted = mount(emulator, ids=[add(emulator)])
    mounted.path.mkdir()
    mounted.start()
    try:
        wait_until(lambda: find_mount(mounted.path), within_s=10)
        assert 0 == mounted.terminate(within_s=10), mounted.log
        assert find_mount(mounted.path) is None
    finally:
        mounted.end()


def test_impatience_does_not_spoil_the_end(mount, emulator):
    """Ctrl-C again and again, while stuck readers get their grace, still ends in a clean unmount."""
    stuck = add(emulator, 64 * MIB)
    emulator.faults.add(hang(), path="/content", times=None)
    with mount(emulator, ids=[stuck]) as mounted:
        os.listdir(mounted.path / stuck)
        path = mounted.path / stuck / "a.bin"
        with subprocess.Popen(["cat", path], stderr=subprocess.DEVNULL) as reader:
            emulator.log.wait_for(1, "content")
            started = time.monotonic()
            while state_of(mounted.pid) not in {"Z", ""}:
                os.kill(mounted.pid, signal.SIGINT)
                os.kill(mounted.pid, signal.SIGTERM)
                time.sleep(0.05)
                assert time.monotonic() - started < 20
            assert 0 == mounted.wait(within_s=1)
            assert 0 != reader.wait(5)


def test_a_failed_background_start_is_one_line_and_leaves_nothing(emulator, tmp_path):
    """What goes wrong after the fork reaches the one who waits, after everything is taken away."""
    (tmp_path / "mnt").mkdir()
    options = ["--offline"]
    with_case = [*FSMOUNT, "mount", tmp_path / "case", tmp_path / "mnt", *options]
    try:
        assert 0 == run(with_case, timeout_s=20).returncode
        assert 0 == run([*FSMOUNT, "unmount", tmp_path / "mnt"], timeout_s=40).returncode
        for leftover in (tmp_path / "case").glob("catalog.sqlite3*"):
            leftover.write_bytes(b"this is no database" * 1000)
        done = run(with_case, timeout_s=20)
        assert (1, 1) == (done.returncode, len(done.stderr.splitlines())), done.stderr
        assert b"catalog" in done.stderr
        assert find_mount(tmp_path / "mnt") is None
    finally:
        free(tmp_path / "mnt")


def test_the_key_is_nowhere_to_be_seen(mount, emulator):
    """Not in the process list, the environment of the process, the log or the case."""
    with mount(emulator, "-v", ids=[add(emulator)]) as mounted:
        list(mounted.path.rglob("*"))
        for name in ("cmdline", "environ"):
            assert (
                emulator.read_key.encode() not in Path(f"/proc/{mounted.pid}/{name}").read_bytes()
            )
        assert emulator.read_key not in mounted.log
    for path in mounted.case.rglob("*"):
        if path.is_file():
            assert emulator.read_key.encode() not in path.read_bytes()
    assert 0o700 == mounted.case.stat().st_mode & 0o777


def test_ids_files_name_their_bad_lines_and_go_on(mount, emulator):
    """A malformed line costs a warning with its number; the others count."""
    good = add(emulator)
    may_log = ["line 2: 'not an id'"]
    with mount(
        emulator, ids=[f"{good}  # a comment", "not an id", "", "# nothing"], may_log=may_log
    ) as m:
        assert [good] == os.listdir(m.path)
        assert "line 2" in m.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_that_mean_the_end_unmount_too(mount, emulator, number):
    """Ctrl-C and a closed terminal end as cleanly as SIGTERM."""
    with mount(emulator, ids=[add(emulator)]) as mounted:
        os.kill(mounted.pid, number)
        assert 0 == mounted.wait(within_s=15)
        assert find_mount(mounted.path) is None


def test_many_readers_at_once_get_the_right_bytes(mount, emulator):
    """A hundred threads over fifty files see each file's own bytes."""
    ids = [add(emulator, 50_000 + n, "m.bin") for n in range(50)]
    with mount(emulator, ids=ids) as mounted, concurrent.futures.ThreadPoolExecutor(100) as pool:
        paths = [mounted.path / file_id / "m.bin" for file_id in ids] * 2
        for number, body in enumerate(pool.map(Path.read_bytes, paths)):
            assert bytes(PatternContent(50_000 + number % 50).read(0, 100_000)) == body
    assert 50 == emulator.log.count("content")
