"""The only way out: calls to addresses that strangers chose.

`fetch` gets a picture, `post` delivers a webhook. Both resolve a name once, refuse it if any of its addresses is not
public, and connect to the very address that was checked. What an operator lists in `EGRESS_ALLOW` is exempt.
"""

from shared.egress.allow import Allow
from shared.egress.calls import Fetched, fetch, post
from shared.egress.errors import Blocked, FetchFailed, TooLarge
from shared.egress.network import Stop

__all__ = ["Allow", "Blocked", "FetchFailed", "Fetched", "Stop", "TooLarge", "fetch", "post"]
