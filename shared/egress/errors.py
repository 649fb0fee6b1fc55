"""Why a call to the outside did not bring what it should. Whoever calls says what that means for a request."""

from shared.errors import Error


class Blocked(Error):
    """This address may not be called.

    Or its name leads to none at all: a caller must not learn which of the two, nor therefore what names we have inside.
    """


class FetchFailed(Error):
    """The address did not answer as it should."""

    def __init__(self, message: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the answer, where there was one."""


class TooLarge(Error):
    """The answer is larger than allowed."""
