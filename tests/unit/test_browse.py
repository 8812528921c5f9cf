"""The views: links that lead to files, names that are unique and stay, listings that can be taken up."""

import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsmount.answers import Absent, DirEntry
from fsmount.browse import BY_PROJECT, BY_USER, Views
from fsmount.catalog import Catalog
from fsmount.collection import Wanted
from fsmount.database import connect
from fsmount.errors import AbsentError, NotADirectoryHereError, RefusedError
from fsmount.inodes import ViewKind, ViewNode, view_node
from fsmount.names import told_apart
from fsmount.objects import State
from fsmount.provenance import Provenance
from fsmount.tree import Attributes
from tests.support.collections import EVERY_FAMILY, collect, rows, states
from tests.support.organization import (
    Organization,
    artifact_entry,
    at,
    file_entry,
    generated_entry,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


@contextmanager
def views_of(path: Path) -> Iterator[Views]:
    with closing(Provenance(path)) as provenance:
        yield Views(provenance)


def node_of(attributes: Attributes | Absent) -> ViewNode:
    """Return the node that an answer is about."""
    assert isinstance(attributes, Attributes)
    node = view_node(attributes.inode)
    assert node is not None
    return node


def tree(views: Views) -> dict[str, str]:
    """Return every path below the views, with what a link says, or "" for a directory."""
    found: dict[str, str] = {}

    def visit(entry: DirEntry, above: str) -> None:
        node, name = node_of(entry.attributes), above + entry.name.decode()
        if stat.S_ISLNK(entry.attributes.mode):
            found[name] = views.readlink(node).decode()
            assert len(found[name].encode()) == entry.attributes.size_bytes
            return
        found[name] = ""
        for child in views.opendir(node)(0):
            visit(child, name + "/")

    for entry in views.entries_of_root(0):
        visit(entry, "")
    return found


def set_state(path: Path, name: str, state: State) -> None:
    with closing(connect(path)) as db:
        db.execute("UPDATE file SET state = ? WHERE claude_file_id = ?", (state, f"claude_{name}"))


def small() -> Organization:
    """Return a chat of alice in a project, with a file of each family, and an attachment."""
    made = Organization()
    project = made.add_project("p", attachments=[file_entry("b")])
    made.add_message(
        made.add_chat("Plan", project=project),
        files=[file_entry("a")],
        generated=[generated_entry("g")],
        artifacts=[artifact_entry("v")],
    )
    return made


ROOT = "../../../"
SMALL = {
    "by-user": "",
    "by-user/alice@example.com": "",
    "by-user/alice@example.com/2026-01-01 Plan": "",
    "by-user/alice@example.com/2026-01-01 Plan/a.txt": f"{ROOT}claude_file_a/a.txt",
    "by-project": "",
    "by-project/p": "",
    "by-project/p/2026-01-01 Plan": "",
    "by-project/p/2026-01-01 Plan/a.txt": f"{ROOT}claude_file_a/a.txt",
    "by-project/p/attachments": "",
    "by-project/p/attachments/b.txt": f"{ROOT}claude_file_b/b.txt",
}


def test_files_are_found_by_person_and_by_project(path):
    """Each chat is a directory with links to its files; so are the attachments of a project."""
    collect(path, small())
    with views_of(path) as views:
        assert SMALL == tree(views)


def test_other_families_are_shown_where_they_were_asked_for(path):
    """Links to generated files and artifacts lead to their contents as well."""
    collect(path, small(), Wanted(families=EVERY_FAMILY))
    chat = "by-user/alice@example.com/2026-01-01 Plan"
    expected = {
        f"{chat}/g.png": f"{ROOT}claude_gen_file_g/g.png",
        f"{chat}/v.md": f"{ROOT}claude_artifact_version_v/v.md",
    }
    with views_of(path) as views:
        assert expected == {name: to for name, to in tree(views).items() if name in expected}


@pytest.mark.parametrize("without", [{"mime_type": None}, {"mime_type": ...}])
def test_where_no_content_is_known_of_the_link_leads_to_the_directory(path, without):
    """Something without content, or whose record does not say so yet, has its directory all the same."""
    entry = file_entry("a") | without
    if without["mime_type"] is ...:
        del entry["mime_type"]
    collect(path, Organization.of_one_file(entry))
    with views_of(path) as views:
        links = [to for to in tree(views).values() if to]
    assert [f"{ROOT}claude_file_a"] == links


@pytest.mark.parametrize("kind", ["nothing", "no files", "not wanted", "gone"])
def test_a_view_with_nothing_in_it_is_not_there(path, kind):
    """Nor is a person, a chat or a project of which no file is shown."""
    made = Organization()
    chat = made.add_chat("1", project="claude_proj_p") if kind != "nothing" else ""
    if kind == "not wanted":
        made.add_message(chat, generated=[generated_entry("g")])
    if kind == "gone":
        made.add_message(chat, files=[file_entry("g")])
        made.add_project("p", attachments=[file_entry("g")])
    collect(path, made)
    if kind == "gone":
        set_state(path, "file_g", State.GONE)
    with views_of(path) as views:
        assert [] == list(views.entries_of_root(0))
        for name, view in ((b"by-user", BY_USER), (b"by-project", BY_PROJECT)):
            assert views.is_root_name(name)
            assert isinstance(views.lookup_in_root(name), Absent)
            assert [] == list(views.opendir(view)(0))
        for view, child in ((BY_USER, b"alice@example.com"), (BY_PROJECT, b"claude_proj_p")):
            assert isinstance(views.lookup(view, child), Absent)


def test_the_views_come_behind_all_files(path):
    """Their places in the root's listing are beyond any number of files."""
    collect(path, small())
    with views_of(path) as views:
        first, second = views.entries_of_root(2**40)
        assert (b"by-user", b"by-project") == (first.name, second.name)
        assert [second] == list(views.entries_of_root(first.next_id))
        assert [] == list(views.entries_of_root(second.next_id))
        assert node_of(views.lookup_in_root(b"by-user")) == BY_USER == node_of(first.attributes)
        assert not views.is_root_name(b"by-date")


# -- names ---------------------------------------------------------------------------------------------


def test_names_stay_when_files_go_and_come(path):
    """What is gone keeps its name from others; what comes later is told apart, whatever number it has."""
    made = Organization()
    made.add_message(made.add_chat("0"), files=[file_entry("late", filename="a.txt")])
    chat = made.add_chat("1", created=1)
    for turn, name in enumerate(["x", "y"]):
        made.add_message(chat, minutes=turn + 1, files=[file_entry(name, filename="a.txt")])
    collect(path, made)
    told_y = told_apart(b"a.txt", "claude_file_y").decode()
    told_late = told_apart(b"a.txt", "claude_file_late").decode()
    where = "by-user/alice@example.com/2026-01-01 1/"
    with views_of(path) as views:
        before = tree(views)
        assert f"{ROOT}claude_file_x/a.txt" == before[f"{where}a.txt"]
        assert f"{ROOT}claude_file_y/a.txt" == before[f"{where}{told_y}"]
    set_state(path, "file_x", State.GONE)
    with views_of(path) as views:
        del before[f"{where}a.txt"]
        assert before == tree(views)
    made.add_message(chat, minutes=9, files=[file_entry("late", filename="a.txt")])
    made.chats[chat]["updated_at"] = at(9)
    collect(path, made)
    with views_of(path) as views:
        assert before | {f"{where}{told_late}": f"{ROOT}claude_file_late/a.txt"} == tree(views)


def test_a_file_may_bear_the_name_by_which_another_is_told_apart(path):
    """All of them are shown."""
    foretold = told_apart(b"a.txt", "claude_file_z").decode()
    made = Organization()
    chat = made.add_chat("1")
    for turn, (name, filename) in enumerate([("x", "a.txt"), ("y", foretold), ("z", "a.txt")]):
        made.add_message(chat, minutes=turn, files=[file_entry(name, filename=filename)])
    collect(path, made)
    with views_of(path) as views:
        assert 3 == len([to for to in tree(views).values() if to])


texts = st.text(st.characters(exclude_categories=[]), max_size=6) | st.sampled_from(
    ["..", ".hidden", "a/b", "\ud800", "meta.json", "x" * 300, "attachments"]
)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_names_make_a_tree_that_can_be_walked(data, tmp_path_factory):
    """Entries are unique, found by their names, safe, and each link leads to what the root shows."""
    made = Organization()
    for number in range(3):
        filename = data.draw(texts)
        chat = made.add_chat(str(number), project=f"claude_proj_{number % 2}")
        made.chats[chat]["name"] = data.draw(texts | st.none())
        made.chats[chat]["user"] = {"id": f"u{number}", "email_address": data.draw(texts)}
        for turn in range(2):
            entry = file_entry(f"{number}x{turn}", filename=filename)
            made.add_message(chat, minutes=turn, files=[entry])
    made.add_project("0", attachments=[file_entry("b")])
    made.projects["claude_proj_0"]["name"] = data.draw(texts)
    path = tmp_path_factory.mktemp("browse") / "c.sqlite3"
    collect(path, made)
    links: set[str] = set()
    with views_of(path) as views, closing(Catalog(path)) as catalog:

        def visit(node: ViewNode, depth: int) -> None:
            entries = list(views.opendir(node)(0))
            assert entries
            assert len(entries) == len({entry.name for entry in entries})
            for entry in entries:
                assert 1 <= len(entry.name) <= 255
                assert not entry.name.startswith(b".")
                assert not set(entry.name) & set(b"/\0\n\x1b")
                assert entry.attributes == views.lookup(node, entry.name)
                child = node_of(entry.attributes)
                assert entry.attributes == views.getattr(child)
                if stat.S_ISDIR(entry.attributes.mode):
                    visit(child, depth + 1)
                    continue
                *up, file_id, name = views.readlink(child).split(b"/")
                assert [b".."] * depth == up
                found = catalog.find(file_id.decode())
                assert found is not None
                assert (True, name) == (found.is_shown, found.content_name)
                links.add(found.claude_file_id)

        for view in (BY_USER, BY_PROJECT):
            visit(view, 1)
    assert set(states(path)) == {link.removeprefix("claude_") for link in links}


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
        views.provenance.close()
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
