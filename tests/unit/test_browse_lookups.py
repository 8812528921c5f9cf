"""Look-ups in the views: what each node answers, at what cost, and where listings go on."""

import stat
from pathlib import Path

import pytest

from fsmount.answers import Absent
from fsmount.browse import BY_PROJECT, BY_USER, Views
from fsmount.errors import AbsentError, NotADirectoryHereError, RefusedError
from fsmount.inodes import ViewKind, ViewNode
from fsmount.objects import State
from fsmount.tree import Attributes
from tests.support.collections import collect, rows
from tests.support.organization import (
    Organization,
    file_entry,
)
from tests.support.views import node_of, set_state, small, views_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


# -- look-ups ------------------------------------------------------------------------------------------


def test_a_listing_can_be_taken_up_behind_any_entry(path, monkeypatch):
    """Whatever the size of its pieces, and also when the directory is opened anew."""
    monkeypatch.setattr("fsmount.browse._PAGE_ENTRIES", 2)
    made = Organization()
    project = made.add_project("p", attachments=[file_entry(f"b{n}") for n in range(3)])
    for number in range(5):
        chat = made.add_chat(str(number), created=number, user=f"u{number}", project=project)
        made.add_message(made.add_chat(f"alices{number}"), files=[file_entry(f"c{number}")])
        made.add_message(chat, files=[file_entry(f"a{n}") for n in range(5)])
    collect(path, made)
    sizes = []
    with views_of(path) as views:
        directories = [BY_USER, BY_PROJECT]
        while directories:
            node = directories.pop()
            entries = list(views.opendir(node)(0))
            sizes.append(len(entries))
            for number, entry in enumerate(entries):
                assert entries[number + 1 :] == list(views.opendir(node)(entry.next_id))
                if stat.S_ISDIR(entry.attributes.mode):
                    directories.append(node_of(entry.attributes))
    assert {1, 3, 5, 6} == set(sizes)


def test_names_with_a_dot_cost_nothing(path):
    """File managers probe for them all day; no database is asked, and the kernel remembers."""
    collect(path, small())
    with views_of(path) as views:
        chat = node_of(
            views.lookup(node_of(views.lookup(BY_USER, b"alice@example.com")), b"2026-01-01 Plan")
        )
        views.folders.close()
        for node in (BY_USER, BY_PROJECT, chat):
            assert Absent(60.0) == views.lookup(node, b".Trash")


def test_a_name_that_is_not_there_yet_is_asked_for_again_soon(path):
    """A walk beside the mount may bring it."""
    collect(path, small())
    with views_of(path) as views:
        person = node_of(views.lookup(BY_USER, b"alice@example.com"))
        project = node_of(views.lookup(BY_PROJECT, b"p"))
        for node in (BY_USER, BY_PROJECT, person, project):
            absent = views.lookup(node, b"nobody")
            assert isinstance(absent, Absent)
            assert absent.entry_timeout_s <= 2


def test_a_directory_is_not_found_below_another(path):
    """A chat is only where it belongs."""
    made = small()
    made.add_message(made.add_chat("Other", user="bob"), files=[file_entry("c")])
    collect(path, made)
    with views_of(path) as views:
        alice = node_of(views.lookup(BY_USER, b"alice@example.com"))
        assert isinstance(views.lookup(alice, b"2026-01-01 Plan"), Attributes)
        assert isinstance(views.lookup(alice, b"2026-01-01 Other"), Absent)
        assert isinstance(views.lookup(alice, b"attachments"), Absent)


def test_a_link_whose_file_is_gone_is_absent(path):
    """Also for who has found it before."""
    collect(path, small())
    with views_of(path) as views:
        link = next(
            ViewNode(ViewKind.LINK_OF_PERSON, number, file)
            for number, file in rows(path, "SELECT chat, file FROM origin LIMIT 1")
            if isinstance(number, int) and isinstance(file, int)
        )
        assert b"../../../claude_file_a/a.txt" == views.readlink(link)
        set_state(path, "file_a", State.GONE)
        for ask in (views.getattr, views.readlink):
            with pytest.raises(AbsentError):
                ask(link)


def test_a_link_is_read_without_those_beside_it(path, monkeypatch):
    """`ls -l` asks for each of them: in a chat with thousands of files that would be millions of rows."""
    made = small()
    made.add_message("claude_chat_Plan", minutes=9, files=[file_entry("a"), file_entry("c")])
    collect(path, made)
    with views_of(path) as views:
        nodes = {
            entry.name: (node_of(entry.attributes), entry.attributes)
            for holder in (
                ViewNode(ViewKind.CHAT_OF_PERSON, 1),
                ViewNode(ViewKind.CHAT_OF_PROJECT, 1),
                ViewNode(ViewKind.ATTACHMENTS, 1),
            )
            for entry in views.opendir(holder)(0)
        }
        monkeypatch.setattr(Views, "_links", None)
        assert {b"a.txt", b"b.txt", b"c.txt"} == set(nodes)
        for name, (node, attributes) in nodes.items():
            target = b"../../../claude_file_%b/%b" % (name[:1], name)
            assert (attributes, target) == (views.getattr(node), views.readlink(node))


def test_links_are_no_directories_and_directories_no_links(path):
    """Each refuses what is asked of the other."""
    collect(path, small())
    with views_of(path) as views:
        with pytest.raises(RefusedError):
            views.readlink(BY_USER)
        link = ViewNode(ViewKind.LINK_OF_PERSON, 1, 1)
        with pytest.raises(NotADirectoryHereError):
            views.opendir(link)
        with pytest.raises(NotADirectoryHereError):
            views.lookup(link, b"x")


@pytest.mark.parametrize("kind", ViewKind)
def test_every_node_has_words(path, kind):
    """Messages say what was touched."""
    collect(path, small())
    with views_of(path) as views:
        words = views.describe(ViewNode(kind, 1, 1))
    assert words == {"BY_USER": "by-user", "BY_PROJECT": "by-project"}.get(
        kind.name, f"a view ({kind.name.lower().replace('_', ' ')})"
    )


def test_a_chat_has_the_date_of_its_beginning(path):
    """A directory that stands for it is dated like it, found in whatever way."""
    collect(path, small())
    with views_of(path) as views:
        alice = node_of(views.lookup(BY_USER, b"alice@example.com"))
        chat = views.lookup(alice, b"2026-01-01 Plan")
        assert isinstance(chat, Attributes)
        assert 1767225600 * 10**9 == chat.mtime_ns
        assert chat == views.getattr(node_of(chat))
