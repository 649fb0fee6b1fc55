"""What a start accepts, and that a refusal names its variable."""

from pathlib import Path
from traceback import format_exception
from urllib.parse import quote

import pytest

from api.settings import ApiKey, ApiSettings, is_loopback
from shared.errors import WrongSetting
from shared.queue.connect import open_async, open_line
from shared.settings import load


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "eighty", "PORT"),
        ("PORT", "70000", "PORT"),
        ("API_KEYS", "id", "API_KEYS"),
        ("API_KEYS", "id:", "API_KEYS"),
        ("HOST", "0.0.0.0", "API_KEYS"),
        ("TLS_CERT_FILE", "/nowhere/cert.pem", "TLS_CERT_FILE"),
        ("TRUSTED_PROXIES", "proxy", "TRUSTED_PROXIES"),
        ("PUBLIC_URL", "pictures.example", "PUBLIC_URL"),
        ("QUEUE_HOSTS", "https://x", "QUEUE_HOSTS"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL"),
        ("SYNC_TIMEOUT_S", "0", "SYNC_TIMEOUT_S"),
        ("MAX_BODIES_BYTES", "146800639", "MAX_BODIES_BYTES"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(WrongSetting, match=f"^{told}: ") as caught:
        load(ApiSettings)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://127.0.0.1/",
        "redis://:s3cret@[::1]:6379/0",
        "redis://user:s3%2Fcr%23et%3B@redis/15",
        "rediss://:s3cret@redis:6380/0?ssl_cert_reqs=required&ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_an_address_of_redis(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert load(ApiSettings).redis_url == url
    open_line(open_async(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@127.0.0.1",
        "REDIS://:s3cret@127.0.0.1",
        "redis:s3cret",
        "redis://127.0.0.1:s3cret/0",
        "redis://127.0.0.1:99999/0?ssl_ca_certs=s3cret",
        "redis://:s3cret/more@127.0.0.1/0",
        "redis://:s3cret#more@127.0.0.1/0",
        "redis://:s3cret?more@127.0.0.1/0",
        "redis://:12/s3cret@127.0.0.1/0",
        "redis://:12#s3cret@127.0.0.1/0",
        "redis://:12?db=s3cret@127.0.0.1/0",
        "redis://:s3cret[more@127.0.0.1/0",
        "redis://:s3cret℀more@127.0.0.1/0",
        "redis://:s3cret;more@127.0.0.1/0",
        "redis://127.0.0.1/s3cret",
        "redis://:s3cret@127.0.0.1/0/",
        "redis://127.0.0.1/0?socket_timeout=s3cret",
        "redis://127.0.0.1/0?password=s3cret",
        "redis://127.0.0.1/0?s3cret",
        "rediss://127.0.0.1/0?ssl_cert_reqs=s3cret",
        "rediss://:s3cret@127.0.0.1/0?ssl_cert_reqs=none&ssl_cert_reqs=required",
        "unix:///run/redis.sock?db=s3cret",
    ],
)
def test_what_is_no_address_of_redis_is_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(WrongSetting, match=r"^REDIS_URL: ") as caught:
        load(ApiSettings)
    assert "s3cret" not in "".join(format_exception(caught.value))
    assert all(quote(sign, safe="") in caught.value.message for sign in "/?#[]@;%")


def test_half_of_tls_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    monkeypatch.setenv("TLS_CERT_FILE", str(tmp_path / "cert.pem"))
    with pytest.raises(WrongSetting, match=r"^TLS_KEY_FILE: "):
        load(ApiSettings)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "a:b, c:d:e ,")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    monkeypatch.setenv("RUN_HOSTS", "Fal.Run, run.example")
    monkeypatch.setenv("HOST", "0.0.0.0")
    settings = load(ApiSettings)
    assert settings.api_keys == (ApiKey("a", "b"), ApiKey("c", "d:e"))
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.run_hosts == ("fal.run", "run.example")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_on_any_address_the_keys_may_also_be_made_at_run_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setenv("REQUIRE_KEY", "true")
    assert load(ApiSettings).api_keys == ()
