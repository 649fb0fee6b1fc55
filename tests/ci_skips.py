"""In continuous integration (`CI=true`) a test may be skipped only for want of a device, never of something to install.

Elsewhere a missing node or S3 server just skips what needs it, with the reason shown at the end of the run.
Such reasons begin with "needs"; any other one fails the test.
"""

import os
from collections.abc import Generator

import pytest

ALLOWED = "needs "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        reason = _reason(report)
        if not reason.startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} must not be skipped here: {reason}"
    return report


def _reason(report: pytest.TestReport) -> str:
    """What `pytest.skip` was told."""
    place = report.longrepr
    text = str(place[2]) if isinstance(place, tuple) else str(place)
    return text.removeprefix("Skipped: ")
