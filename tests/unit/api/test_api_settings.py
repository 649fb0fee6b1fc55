"""What a start accepts, and that a refusal names its variable."""

from pathlib import Path

import pytest

from api.settings import ApiKey, ApiSettings, is_loopback
from shared.errors import WrongSetting
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
