"""What is remembered is what a look would find, but for the blink that others' changes may take."""

from hypothesis import given
from hypothesis import strategies as st

from fsmount.recent import Recent


class Shelf:
    """Things that we and others put down; it counts the looks."""

    def __init__(self) -> None:
        self.things: dict[str, int] = {}
        self.looks = 0
        self.version = 0
        self.now = 0.0
        self.recent = Recent(self.look_up, lambda: self.version, lambda: self.now)

    def look_up(self, key: str) -> int | None:
        self.looks += 1
        return self.things.get(key)

    def put(self, key: str, value: int) -> None:
        self.things[key] = value
        self.recent.forget()

    def put_by_another(self, key: str, value: int) -> None:
        self.things[key] = value
        self.version += 1


def test_asking_again_costs_no_look():
    """For what is there, and for what is not."""
    shelf = Shelf()
    shelf.put("a", 1)
    assert [1, 1, None, None] == [shelf.recent.get(key) for key in ("a", "a", "b", "b")]
    assert 2 == shelf.looks


def test_our_own_change_is_seen_at_once():
    """Whoever has waited for a change relies on it."""
    shelf = Shelf()
    assert shelf.recent.get("a") is None
    shelf.put("a", 1)
    assert 1 == shelf.recent.get("a")


def test_what_was_looked_up_while_it_changed_is_not_remembered():
    """The change is made in a thread, and may come between a look and the remembering."""
    shelf = Shelf()

    def look_up(key: str) -> int | None:
        found = shelf.things.get(key)
        shelf.put("a", 1)
        return found

    recent = Recent(look_up, lambda: 0, lambda: 0.0)
    shelf.recent = recent
    assert [None, 1] == [recent.get("a"), recent.get("a")]


def test_memory_is_bounded():
    """A walk over a million files leaves no million behind."""
    shelf = Shelf()
    for number in range(20_000):
        shelf.recent.get(str(number))
    assert len(shelf.recent._answers) <= 16_384


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["get", "put", "other", "wait"]),
            st.sampled_from("abc"),
            st.integers(0, 9),
        )
    )
)
def test_no_answer_is_older_than_a_blink(steps):
    """Whatever is changed by whom: an answer was true at most 0.1 s ago."""
    shelf = Shelf()
    history: list[tuple[float, dict[str, int]]] = [(0.0, {})]
    for what, key, value in steps:
        if what == "put":
            shelf.put(key, value)
            history = []
        elif what == "other":
            shelf.put_by_another(key, value)
        elif what == "wait":
            shelf.now += value / 50
        history.append((shelf.now, dict(shelf.things)))
        if what == "get":
            # What was true at a moment stays so until the next one.
            first = max(
                (i for i, (at, _) in enumerate(history) if at <= shelf.now - 0.1), default=0
            )
            assert shelf.recent.get(key) in {things.get(key) for _, things in history[first:]}
