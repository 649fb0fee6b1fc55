"""`python -m deploy.local.ready URL`: waits until the system there can do work, says so in one line, and ends.

Asks `/ready` and shows, when it takes long, what the system says that it still waits for.
"""

import http.client
import ssl
import sys
import time
import urllib.error
import urllib.request

PAUSE_S = 0.1
PATIENCE_S = 15.0
"""Between two lines about what is still missing."""


def main(url: str) -> int:
    spoke = time.monotonic()
    while True:
        ready, answer = ask(url)
        if ready:
            print(f"Ready: {url}  (stop with Ctrl-C)", flush=True)
            return 0
        if time.monotonic() - spoke > PATIENCE_S:
            spoke = time.monotonic()
            print(f"not ready yet: {answer}", flush=True)
        time.sleep(PAUSE_S)


def ask(url: str, timeout_s: float = 5.0) -> tuple[bool, str]:
    """Whether the system can do work, and what it answered."""
    try:
        with _open(f"{url}/ready", timeout_s) as answer:
            return True, answer.read(400).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return False, error.read(400).decode(errors="replace").strip() or str(error)
    except (OSError, http.client.HTTPException):
        return False, "the API does not answer yet"


def _open(url: str, timeout_s: float) -> http.client.HTTPResponse:
    """Without proxies, and without a look at the certificate: this asks our own process over loopback."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    return opener.open(url, timeout=timeout_s)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
