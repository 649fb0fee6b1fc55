"""Tells a request that is too large for a device from a device that has lost room."""

from typing import Any

from worker.engine.ticket import Ticket


class Room:
    """For one kind of work, which one thread does."""

    def __init__(self) -> None:
        self._fitted_px = 0
        """The largest picture for which there was room."""
        self._short: str | None = None
        """The request for which there was none since, though one as large had fitted, or none had."""

    def sufficed(self, ticket: Ticket[Any]) -> None:
        self._fitted_px = max(self._fitted_px, ticket.key.picture_px)
        self._short = None

    def is_lost(self, ticket: Ticket[Any]) -> bool:
        """Asked when the device was this one's alone and had no room for it. True for the second request in a row for
        which there was room before, or while there never was any: what is larger than all that ever fitted says nothing
        about the device."""
        if 0 < self._fitted_px < ticket.key.picture_px:
            return False
        lost = self._short not in (None, ticket.job.request)
        self._short = ticket.job.request
        return lost
