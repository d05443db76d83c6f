"""Which connections there are, and which has to go when there is no room for another: pure.

The rule: a connection that is of use to somebody stays. The first to go is whoever has waited longest without a
request, the next whoever has been taking longest to read an answer; one whose answer is being made never goes.
"""

from typing import Protocol


class Guest(Protocol):
    """A connection, from the moment it is accepted."""

    def evict(self) -> None:
        """End it at once."""
        ...


class Room:
    """The connections of a server, at most ``most``. For one thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        # Each in the order of the moment at which its guest got there.
        self._waiting: dict[Guest, None] = {}
        self._stuck: dict[Guest, None] = {}
        self._busy: dict[Guest, None] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._waiting) + len(self._stuck) + len(self._busy)

    def wait(self, guest: Guest) -> None:
        """Note a guest of whom a request is awaited from now on."""
        self.leave(guest)
        self._waiting[guest] = None

    def work(self, guest: Guest) -> None:
        """Note that an answer is being made, or sent as fast as it can be."""
        self.leave(guest)
        self._busy[guest] = None

    def stick(self, guest: Guest) -> None:
        """Note that a guest does not read its answer as fast as it could be sent."""
        self.leave(guest)
        self._stuck[guest] = None

    def leave(self, guest: Guest) -> None:
        """Note that a guest has gone, if it was there."""
        for guests in (self._waiting, self._stuck, self._busy):
            guests.pop(guest, None)

    def make_room(self) -> bool:
        """Evict one guest if there are as many as there may be; tell whether there is room for another now."""
        if len(self) < self.most:
            return True
        return self.evict_one()

    def evict_one(self) -> bool:
        """Evict the guest that is missed least; False if each is of use."""
        guest = next(iter(self._waiting), None) or next(iter(self._stuck), None)
        if guest is None:
            return False
        self.leave(guest)
        guest.evict()
        return True
