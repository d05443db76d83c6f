"""Who has to go when there is no room for another connection."""

from exporter.web.room import Room


class Visitor:
    """A connection that only notes that it was evicted."""

    def __init__(self, name: str, evicted: list[str]) -> None:
        self.name = name
        self.evicted = evicted

    def evict(self) -> None:
        """Note it."""
        self.evicted.append(self.name)


def crowd(names: str) -> tuple[dict[str, Visitor], list[str]]:
    """Make visitors with these names of a letter, and the list of those that will be evicted."""
    evicted: list[str] = []
    return {name: Visitor(name, evicted) for name in names}, evicted


def test_nobody_goes_while_there_is_room() -> None:
    """Up to as many as there may be, everybody stays."""
    visitors, evicted = crowd("ab")
    room = Room(3)
    for visitor in visitors.values():
        room.wait(visitor)
    assert (room.make_room(), len(room), evicted) == (True, 2, [])


def test_who_has_waited_longest_goes_first() -> None:
    """Of those without a request the oldest goes; one that has asked again since is younger."""
    visitors, evicted = crowd("abc")
    room = Room(3)
    for visitor in visitors.values():
        room.wait(visitor)
    room.work(visitors["a"])
    room.wait(visitors["a"])
    assert [room.make_room(), room.evict_one(), room.evict_one(), room.evict_one()] == [True, True, True, False]
    assert (evicted, len(room)) == (["b", "c", "a"], 0)


def test_who_reads_slowly_goes_after_who_waits() -> None:
    """A slow reader goes when nobody is waiting, whoever has been slow for longest first."""
    visitors, evicted = crowd("abcd")
    room = Room(4)
    for visitor in visitors.values():
        room.work(visitor)
    for name in "ba":
        room.stick(visitors[name])
    room.work(visitors["b"])
    room.stick(visitors["b"])
    room.wait(visitors["c"])
    assert [room.evict_one() for _ in range(4)] == [True, True, True, False]
    assert (evicted, len(room)) == (["c", "a", "b"], 1)


def test_who_is_being_answered_stays() -> None:
    """With nobody but those whose answers are being made, there is no room for another."""
    visitors, evicted = crowd("ab")
    room = Room(2)
    for visitor in visitors.values():
        room.work(visitor)
    assert (room.make_room(), evicted) == (False, [])
    room.leave(visitors["a"])
    room.leave(visitors["a"])
    assert (room.make_room(), len(room), evicted) == (True, 1, [])
