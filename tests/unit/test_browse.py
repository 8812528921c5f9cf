"""The views: links that lead to files, and names that are unique and stay."""

import stat
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsmount.answers import Absent
from fsmount.browse import BY_PROJECT, BY_USER
from fsmount.catalog import Catalog
from fsmount.collection import Wanted
from fsmount.inodes import ViewNode
from fsmount.names import told_apart
from fsmount.objects import State
from tests.support.collections import EVERY_FAMILY, collect, states
from tests.support.organization import (
    Organization,
    at,
    file_entry,
    generated_entry,
)
from tests.support.views import node_of, set_state, small, tree, views_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c.sqlite3"


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
