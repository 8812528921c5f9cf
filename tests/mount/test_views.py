"""Views and live mounts: what people find by user and project, and how a mount follows its catalog."""

import contextlib
import os

import pytest
import trio

from fsmount.catalog import Catalog
from fsmount.custody import iter_entries
from fsmount.file_list import Filter, iter_items
from tests.support.collecting import collect, collected_ids
from tests.support.emulator import RunningEmulator
from tests.support.mounts import MountedProcess, run, shell, wait_until

BODY = b"content of a file\n" * 100


@pytest.fixture
def filled(emulator: RunningEmulator) -> RunningEmulator:
    """Add people, a project, and chats with files: twice the same name in one of them."""
    corpus = emulator.corpus
    ana = corpus.add_user("ana@example.com", "Ana")
    ben = corpus.add_user("ben@example.com", "Ben")
    attached = corpus.add_file(BODY + b"9", filename="policy.pdf", mime_type="application/pdf")
    project = corpus.add_project("Audit", user=ana, files=[attached])
    for number, (user, name) in enumerate([(ana, "Report"), (ana, "Report"), (ben, "")]):
        chat = corpus.add_chat(name, user=user, project=project if number == 0 else None)
        files = [
            corpus.add_file(
                BODY + b"%d%d" % (number, place), filename="a.txt", mime_type="text/plain"
            )
            for place in range(2)
        ]
        corpus.add_message(chat, "look", files=files)
    return emulator


def links_below(root):
    """Return every link of the views with the path it leads to, relative to the root."""
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.islink(path):
                real = os.path.realpath(path)
                found[os.path.relpath(path, root)] = os.path.relpath(real, root)
    return found


def test_a_collected_case_costs_no_request_until_content_is_read(mount, filled, tmp_path):
    """Mounting, listing, find and stat ask nobody; the first full read costs one request a file."""
    collect(filled, tmp_path / "case")
    filled.log.reset()
    with mount(filled) as mounted:
        assert 14 == len(run(["find", mounted.path, "-type", "f"]).stdout.splitlines())
        assert 0 == run(["ls", "-lR", mounted.path]).returncode
        assert 0 == run(["find", mounted.path, "-newermt", "2020-01-01", "-size", "+1c"]).returncode
        assert {} == filled.log.counts()
        first = shell("grep -rl 'content of a file' . | sort", cwd=mounted.path)
        assert 7 == len(first.stdout.splitlines())
        assert {"content": 7} == filled.log.counts()
        assert first.stdout == shell("grep -rl 'content of' . | sort", cwd=mounted.path).stdout
        assert {"content": 7} == filled.log.counts()


def test_the_views_lead_to_the_files(mount, filled, tmp_path):
    """By user and by project, by date and name of the chat; each link leads to the right content."""
    collect(filled, tmp_path / "case")
    with mount(filled) as mounted:
        links = links_below(mounted.path)
        assert 9 == len(links)
        for link, target in links.items():
            assert os.path.basename(target) in {"a.txt", "policy.pdf"}
            assert (mounted.path / link).read_bytes() == (mounted.path / target).read_bytes()
        names = sorted(os.listdir(mounted.path / "by-user" / "ana@example.com"))
        assert 2 == len(names)
        assert "2026-03-02 Report" == names[0]
        assert names[1].startswith("2026-03-02 Report~")
        assert {"Report", "untitled"} == {
            name.partition(" ")[2].partition("~")[0]
            for user in os.listdir(mounted.path / "by-user")
            for name in os.listdir(mounted.path / "by-user" / user)
        }
        project = mounted.path / "by-project" / "Audit"
        assert ["2026-03-02 Report", "attachments"] == sorted(os.listdir(project))
        assert ["policy.pdf"] == os.listdir(project / "attachments")
        inside = os.listdir(project / "2026-03-02 Report")
        assert ["a.txt"] == [name for name in inside if "~" not in name]
        assert 2 == len(inside)
        again = links_below(mounted.path)
    with mount(filled) as mounted:
        assert links == again == links_below(mounted.path)


def test_whoever_walks_everything_sees_each_byte_once(mount, filled, tmp_path):
    """Links are not followed by grep -r, find, tar and cp -a; the views add no bytes to an archive."""
    collect(filled, tmp_path / "case")
    target = tmp_path / "out"
    target.mkdir()
    with mount(filled) as mounted:
        counts = shell("grep -rc 'content of a file' . | grep -v ':0$' | wc -l", cwd=mounted.path)
        assert "7" == counts.stdout.strip()
        assert 0 == shell(f"tar -c . | tar -x -C {target}", cwd=mounted.path).returncode
        assert 9 == len(links_below(target))
        assert 14 == sum(
            1 for path in target.rglob("*") if path.is_file() and not path.is_symlink()
        )


def test_a_mount_without_views_has_none(mount, filled, tmp_path):
    """--no-views leaves the root to the files; a case without provenance shows no empty views."""
    collect(filled, tmp_path / "case")
    with mount(filled, "--no-views") as mounted:
        assert not [n for n in os.listdir(mounted.path) if not n.startswith("claude_file_")]
        assert not (mounted.path / "by-user").exists()
    with mount(filled, ids=["claude_file_01a"], case="other") as mounted:
        assert ["claude_file_01a"] == os.listdir(mounted.path)


def test_links_can_not_be_deleted(mount, filled, tmp_path):
    """Removing a view removes nothing, even where deleting is allowed."""
    collect(filled, tmp_path / "case")
    may_log = ["only the content of a file can be deleted", "only directories of deleted files"]
    with mount(filled, "--allow-delete", key=filled.delete_key, may_log=may_log) as mounted:
        assert 0 != shell("rm -rf by-user by-project", cwd=mounted.path).returncode
        assert 9 == len(links_below(mounted.path))
    assert 0 == filled.log.count("delete")


def test_what_is_made_in_chats_is_shown_and_can_not_be_deleted(mount, emulator, tmp_path):
    """Generated files and artifacts have content and record; unlink is EPERM, with --allow-delete too."""
    corpus = emulator.corpus
    made = corpus.add_generated_file(b"a,b\n", filename="t.csv", mime_type="text/csv")
    draft = corpus.add_artifact("# Title", title="Draft")
    corpus.add_message(corpus.add_chat("c"), generated=[made], artifacts=[draft])
    collect(emulator, tmp_path / "case", "--include", "generated", "--include", "artifacts")
    may_log = ["the service can't delete"]
    with mount(emulator, "--allow-delete", key=emulator.delete_key, may_log=may_log) as mounted:
        assert {made, draft, "by-user"} == set(os.listdir(mounted.path))
        assert b"a,b\n" == (mounted.path / made / "t.csv").read_bytes()
        assert b"# Title" == (mounted.path / draft / "Draft.md").read_bytes()
        assert "Draft" in (mounted.path / draft / "meta.json").read_text()
        for path in (mounted.path / made / "t.csv", mounted.path / draft / "Draft.md"):
            with pytest.raises(PermissionError):
                path.unlink()
            assert path.exists()
    assert 0 == emulator.log.count("delete")


def test_a_mount_follows_what_is_collected_beside_it(mount, filled, tmp_path):
    """New files and views appear without a remount, also where they were looked for before."""
    with mount(filled) as mounted:
        assert [] == os.listdir(mounted.path)
        assert not (mounted.path / "by-user").exists()
        collect(filled, tmp_path / "case")
        assert 7 + 2 == len(os.listdir(mounted.path))
        wait_until((mounted.path / "by-user").exists, within_s=5)
        assert 9 == len(links_below(mounted.path))
        chat = filled.corpus.add_chat("Later")
        new = filled.corpus.add_file(b"new", filename="n.txt", mime_type="text/plain")
        filled.corpus.add_message(chat, files=[new])
        collect(filled, tmp_path / "case")
        assert new in os.listdir(mounted.path)
        assert b"new" == (mounted.path / new / "n.txt").read_bytes()
        assert 10 == len(links_below(mounted.path))


def test_a_file_that_is_gone_disappears_and_what_is_kept_stays_readable_offline(
    mount, filled, tmp_path
):
    """A 404 takes a file from the listing and is noted; verified content of it is shown offline."""
    case = tmp_path / "case"
    collect(filled, case)
    kept, lost, deleted, *_ = collected_ids(case, "--name", "a.txt")
    with mount(
        filled,
        "--allow-delete",
        key=filled.delete_key,
        may_log=["does not know it any more", "404"],
    ) as mounted:
        assert (mounted.path / kept / "a.txt").read_bytes().startswith(BODY)
        run(["rm", "-r", mounted.path / deleted])
        wait_until(lambda: b'"acquired": 1' in status(mounted), within_s=5)
        for file_id in (kept, lost):
            filled.corpus.delete_file(file_id)
        with pytest.raises(FileNotFoundError):
            (mounted.path / lost / "a.txt").read_bytes()
        wait_until(lambda: lost not in os.listdir(mounted.path), within_s=5)
        wait_until(
            lambda: not (mounted.path / lost).exists(), within_s=5
        )  # the kernel is told later
        assert not [link for link, target in links_below(mounted.path).items() if lost in target]
    events = [(e["event"], e.get("claude_file_id")) for e in iter_entries(case / "custody.jsonl")]
    assert ("gone", lost) in events
    collect(filled, case)  # messages go on naming it
    with contextlib.closing(Catalog(case / "catalog.sqlite3")) as catalog:
        assert trio.run(catalog.mark_gone, kept)
    with mount(filled) as mounted:
        assert not {kept, lost, deleted} & set(os.listdir(mounted.path))
    with mount(None, "--offline") as mounted:
        assert {kept} == {kept, lost, deleted} & set(os.listdir(mounted.path))
        assert (mounted.path / kept / "a.txt").read_bytes().startswith(BODY)
    assert ["gone", "gone", "deleted"] == [states(case)[key] for key in (kept, lost, deleted)]


def states(case) -> dict[str, str]:
    """Return what `fsmount files` says has become of each file."""
    items = iter_items(case / "catalog.sqlite3", Filter())
    return {item.claude_file_id: item.state for item in items}


def status(mounted: MountedProcess) -> bytes:
    """Return what the mount says of itself."""
    return (mounted.path / ".fsmount" / "status.json").read_bytes()
