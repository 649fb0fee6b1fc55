"""Where the picture to start from comes from: our own store, or an address in the world.

Owns what is said to the caller when it does not come. Knows nothing of pixels.
"""

from shared import egress
from shared.errors import InvalidInput, Problem, Unavailable
from shared.files.base import FileMissing, StoreUnavailable
from worker.context import Context
from worker.pictures import LOCATION


def stored(context: Context, key: str) -> bytes:
    """A file of our store. Raises `InvalidInput`: `file_download_error` where it is gone, `file_too_large`."""
    most = context.settings.max_download_bytes
    try:
        content = b"".join(context.store.read(key, length=most + 1))
    except FileMissing as error:
        raise _not_there("The file is not there any more") from error
    except StoreUnavailable as error:
        raise Unavailable("The file store does not answer") from error
    if len(content) > most:
        raise _too_large(most)
    return content


def fetched(context: Context, url: str, stop: egress.Stop) -> bytes:
    """What an address answers, unless it is stopped. Raises `InvalidInput`: `file_download_error`, `file_too_large`."""
    settings = context.settings
    try:
        answer = egress.fetch(
            url,
            max_bytes=settings.max_download_bytes,
            timeout_s=settings.download_timeout_s,
            allow=context.allow,
            stop=stop,
        )
    except egress.TooLarge as error:
        raise _too_large(settings.max_download_bytes) from error
    except egress.Blocked as error:
        raise _not_there(f"The file may not be downloaded: {error}") from error
    except egress.FetchFailed as error:
        raise _not_there(f"The file could not be downloaded: {error}") from error
    return answer.content


def _not_there(message: str) -> InvalidInput:
    return InvalidInput(Problem(LOCATION, message, "file_download_error"))


def _too_large(most: int) -> InvalidInput:
    return InvalidInput(
        Problem(LOCATION, f"The file has more than {most} bytes", "file_too_large", context={"max_size": most})
    )
