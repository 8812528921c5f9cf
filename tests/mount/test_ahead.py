"""Read-ahead across files on a real mount: a walk waits for many files at once, and pays for none twice."""

import json
import random

import pytest

from fsmount.demo.generated import GeneratedCorpus
from tests.support.collecting import collect, collected_ids
from tests.support.emulator import RunningEmulator
from tests.support.mounts import shell, wait_until

FILES = 120
LATENCY_S = 0.05


@pytest.fixture
def slow(tmp_path):
    """Yield an emulator that takes its time over each answer, with a collected case."""
    corpus = GeneratedCorpus(chats=FILES // 10, files_per_chat=10, file_bytes=4096)
    with RunningEmulator(source=corpus) as running:
        collect(running, tmp_path / "case")
        running.behaviour.latency_s = LATENCY_S
        running.log.reset()
        yield running


def ahead(mounted) -> dict[str, int]:
    document = json.loads((mounted.path / ".fsmount" / "status.json").read_text())
    counters: dict[str, int] = document["ahead"]
    return counters


@pytest.mark.parametrize(
    "walk",
    [
        "grep -r 'no such words' . || true",
        "sha256sum claude*/*.txt | wc -l",
        "tar -c . | wc -c",
        r"find . -name '*.txt' -exec cat {} \; | wc -c",
    ],
)
def test_whoever_walks_everything_waits_for_many_files_at_once(mount, slow, walk):
    """Far less than one latency a file, one request a file, and nothing fetched that is not read."""
    with mount(slow) as mounted:
        started = slow.log.count()
        done = shell(walk, cwd=mounted.path)
        assert 0 == done.returncode, done.stderr
        assert {"content": FILES} == slow.log.counts()
        assert 0 == started
        first, *_, last = slow.log.entries()
        assert (last.ended_at or 0) - first.started_at < FILES * LATENCY_S / 3
        counters = ahead(mounted)
        assert (0, 0) == (counters["unread"], counters["under_way"])
        assert counters["fetched"] >= FILES - 5


def test_a_walk_that_stops_leaves_fewer_than_ten_files_unread(mount, slow, tmp_path):
    """What was fetched for nothing is bounded, and counted; the files are there for whoever goes on."""
    ids = collected_ids(tmp_path / "case")
    with mount(slow) as mounted:
        for file_id in ids[:20]:
            (path,) = (mounted.path / file_id).glob("*.txt")
            path.read_bytes()
        wait_until(lambda: ahead(mounted)["under_way"] == 0, within_s=5)
        unread = ahead(mounted)["unread"]
        assert 0 < unread < 10
        assert 20 + unread == slow.log.count("content")


def test_who_opens_files_here_and_there_fetches_nothing_else(mount, slow, tmp_path):
    """Without an order there is nothing to foresee."""
    ids = collected_ids(tmp_path / "case")
    random.Random(7).shuffle(ids)
    with mount(slow) as mounted:
        for file_id in ids[:30]:
            (path,) = (mounted.path / file_id).glob("*.txt")
            path.read_bytes()
        assert 0 == ahead(mounted)["fetched"]
        assert 30 == slow.log.count("content")


def test_who_waits_goes_before_what_is_fetched_ahead(mount, slow, tmp_path):
    """While walks wait for the budget, another reader's file is among the next to be asked for."""
    slow.behaviour.latency_s = 0.0
    slow.behaviour.requests_per_minute, slow.behaviour.window_s = 26, 3.0
    ids = collected_ids(tmp_path / "case")
    walks = [ids[first : first + 25] for first in range(0, 100, 25)]
    with mount(slow) as mounted:
        lines = [f"(cat {' '.join(f'{key}/*.txt' for key in walk)} >/dev/null) &" for walk in walks]
        script = "\n".join([*lines, "sleep 1", f"cat {ids[-1]}/*.txt >/dev/null", "wait"])
        assert 0 == shell(script, cwd=mounted.path).returncode
        started = slow.log.entries()[0].started_at
        later = [entry for entry in slow.log.entries() if entry.started_at - started > 1.5]
        # What a window lets through is sent at once, in no strict order, so the window counts. In the order
        # of asking, more than one holds would go first: four walks, each with nine files ahead.
        following = [entry for entry in later if entry.started_at - later[0].started_at < 1]
        assert ids[-1] in "".join(entry.path for entry in following)
        assert not [entry for entry in slow.log.entries() if entry.status == 429]
        assert 101 <= slow.log.count("content") < 101 + 4 * 10
