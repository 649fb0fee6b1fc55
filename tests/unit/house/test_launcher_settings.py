"""What the launcher reads itself, and how it says that a value is of no use."""

import pytest

from deploy.local.settings import read
from shared.errors import WrongSetting


def test_nothing_set_is_a_system_on_this_machine_only():
    settings = read({})
    assert (settings.url, settings.workers, settings.redis_url) == ("http://127.0.0.1:8000", 1, None)
    assert settings.data_dir.is_absolute()
    assert settings.data_dir.name == ".data"


def test_empty_means_unset():
    assert read({"PORT": "", "REDIS_URL": "", "TLS_CERT_FILE": ""}) == read({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("WORKERS", "0"),
        ("WORKERS", "two"),
        ("REDIS_FSYNC", "daily"),
        ("REDIS_MAXMEMORY", "plenty"),
        ("REDIS_MAXMEMORY", "-1"),
        ("REDIS_MAXMEMORY", "4tb"),
        ("REDIS_MAXMEMORY", "1gb 2gb"),
    ],
)
def test_a_wrong_value_is_reported_by_its_name(name: str, value: str):
    with pytest.raises(WrongSetting) as caught:
        read({name: value})
    assert caught.value.name == name
    assert value in caught.value.message


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("::1", "http://[::1]:9000"),
        ("10.1.2.3", "http://10.1.2.3:9000"),
    ],
)
def test_the_url_is_one_that_this_machine_can_open(host: str, url: str):
    assert read({"HOST": host, "PORT": "9000"}).url == url


def test_a_certificate_makes_it_https():
    assert read({"TLS_CERT_FILE": "/somewhere.pem"}).url == "https://127.0.0.1:8000"


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("2.5", 3), ("nonsense", 30), ("-1", 30), ("nan", 30)])
def test_patience_follows_the_worker_and_leaves_complaints_to_it(value: str, seconds: int):
    assert read({"GRACE_S": value}).worker_grace_s == seconds
