"""What a URL may look like, before any name is resolved."""

import pytest

from shared.egress import Blocked, urls


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("http://Example.test", "http://example.test/"),
        ("https://example.test:443/a?b=c#d", "https://example.test/a?b=c"),
        ("http://example.test:8080/a b/ä.png?q=ü", "http://example.test:8080/a%20b/%C3%A4.png?q=%C3%BC"),
        ("http://example.test/a%20b", "http://example.test/a%20b"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://１２７.0.0.1/", "http://127.0.0.1/"),
        ("http://[2606:4700::1]:8080/", "http://[2606:4700::1]:8080/"),
        (" http://example.test/ ", "http://example.test/"),
        ("http://example.test?x", "http://example.test/?x"),
    ],
)
def test_it_means_one_thing(url: str, called: str) -> None:
    assert urls.checked(url) == called


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.test/",
        "file:///etc/passwd",
        "gopher://example.test/",
        "//example.test/",
        "example.test",
        "",
        "http://",
        "http:///path",
        "http://user:secret@example.test/",
        "http://example.test@evil.test/",
        "http://example.test\\@evil.test/",
        "http://example.test/\r\nX-Injected: yes",
        "http://exa\tmple.test/",
        "http://example.test:0/",
        "http://example.test:99999/",
        "http://example.test:port/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://a b.test/",
        "http://" + "a" * 9000,
    ],
)
def test_it_is_refused(url: str) -> None:
    with pytest.raises(Blocked):
        urls.checked(url)


def test_a_redirect_is_read_relative_to_where_it_was() -> None:
    assert urls.redirected("https://a.test/x/y?z", "../b") == "https://a.test/b"
    assert urls.redirected("https://a.test/x", "//b.test/c") == "https://b.test/c"
    assert urls.redirected("https://a.test/x", "http://b.test") == "http://b.test/"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://a:b@c.test/", "http://[::1", "javascript:alert(1)"])
def test_a_redirect_is_checked_as_any_address(location: str) -> None:
    with pytest.raises(Blocked):
        urls.redirected("https://a.test/", location)
