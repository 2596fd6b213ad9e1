"""The URLs that people paste, and what becomes of them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import URL, make_url

from hqt_async_db.connection.urls import ENVIRONMENT_VARIABLE, redact, resolve
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-planted"


@pytest.mark.parametrize(
    ("pasted", "drivername"),
    [
        ("sqlite:///hqt.db", "sqlite+hqt"),
        ("sqlite:///:memory:", "sqlite+hqt"),
        ("sqlite://", "sqlite+hqt"),
        ("sqlite+aiosqlite:///hqt.db", "sqlite+aiosqlite"),
        ("postgresql://u@h/d", "postgresql+asyncpg"),
        ("postgres://u@h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg_async://u@h/d", "postgresql+psycopg"),
        ("mysql://u@h/d", "mysql+asyncmy"),
        ("mysql+aiomysql://u@h/d", "mysql+aiomysql"),
        ("mariadb://u@h/d", "mariadb+asyncmy"),
        ("mariadb+aiomysql://u@h/d", "mariadb+aiomysql"),
    ],
)
def test_a_pasted_url_gets_an_async_driver(pasted: str, drivername: str) -> None:
    assert resolve(pasted).url.drivername == drivername


@pytest.mark.parametrize(
    ("pasted", "is_memory"),
    [
        ("sqlite:///:memory:", True),
        ("sqlite://", True),
        ("sqlite:///m.db", False),
        ("sqlite:///mode=memory", False),
        ("sqlite:///./file:m.db", False),
        ("sqlite:///file:m.db?uri=true&mode=rwc", False),
        ("sqlite:///file:mode=memory?uri=true", False),
        ("sqlite:///file:m?mode=memory&uri=true", True),
        ("sqlite:///file:m?mode=memory&cache=shared&uri=true", True),
        ("sqlite:///file::memory:?uri=1", True),
        ("sqlite:///file:%2525?mode=memory&uri=true", True),
    ],
)
def test_memory_is_told_from_files(pasted: str, is_memory: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert resolve(pasted).is_memory is is_memory


@pytest.mark.parametrize(
    "url",
    ["oracle://h/d", "postgresql+psycopg2://h/d", "mysql+pymysql://h/d", "sqlite+pysqlite://"],
)
def test_unknown_and_synchronous_drivers_are_refused_with_the_list(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite://.*postgresql://.*mariadb://"):
        resolve(url)


@pytest.mark.parametrize(
    ("url", "instead"),
    [
        ("sqlite:///file:m.db", r"sqlite:///file:m\.db\?uri=true.*\./file:m\.db"),
        ("sqlite:///file:m.db?uri=false&mode=ro", "uri=true"),
        ("sqlite+aiosqlite:///file:m?mode=memory", "uri=true"),
        ("sqlite:///m.db?mode=ro&uri=true", r"sqlite:///file:m\.db"),
        ("sqlite:///m.db?mode=ro", r"does not know .* mode; .*file:m\.db\?mode=ro&uri=true"),
        ("sqlite+aiosqlite:///:memory:?cache=shared&timeout=3", r"the URL: cache;"),
        ("sqlite:///:memory:?cache=shared&uri=true", "sqlite:///file::memory:"),
        ("sqlite:///file:m?vfs=memdb&uri=true", "mode=memory"),
        ("sqlite:///file:m.db?uri=perhaps", "true or false"),
        (URL.create("sqlite", database="file:m?mode=ro", query={"uri": "true"}), "query"),
    ],
)
def test_what_could_name_two_databases_is_refused(url: str | URL, instead: str) -> None:
    with pytest.raises(ConfigurationError, match=instead):
        resolve(url)


@pytest.mark.parametrize("url", [f"not a url {SECRET}", f"postgresql://u:{SECRET}@h:port/d", "://"])
def test_what_does_not_parse_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="does not parse") as caught:
        resolve(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_no_url_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "sqlite:///from_environment.db")
    assert resolve(None).url.database == "from_environment.db"
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    with pytest.raises(ConfigurationError, match=ENVIRONMENT_VARIABLE):
        resolve(None)


def test_libpq_parameters_become_arguments_of_asyncpg() -> None:
    target = resolve(
        "postgresql://u:p@h/d?sslmode=require&connect_timeout=3&application_name=bot"
        "&options=-csearch_path%3Dx&target_session_attrs=read-write&command_timeout=2.5"
    )
    assert target.url.query == {}
    assert target.connect_timeout_s == 3
    assert target.connect_args == {
        "ssl": "require",
        "server_settings": {"application_name": "bot", "options": "-csearch_path=x"},
        "target_session_attrs": "read-write",
        "command_timeout": 2.5,
    }


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("sslmode=maybe", "sslmode"),
        ("connect_timeout=soon", "connect_timeout"),
        ("no_such_parameter=1", "no_such_parameter"),
        ("sslmode=verify-full&sslrootcert=/no/such/file", "certificate"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(query: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        resolve(f"postgresql://u@h/d?{query}")


def test_tls_of_mysql_is_verified(tmp_path: Path) -> None:
    pem = ssl.get_default_verify_paths().cafile or tmp_path / "none"
    with pytest.raises(ConfigurationError, match="certificate"):
        resolve(f"mysql://u@h/d?ssl_ca={tmp_path}/none")
    arguments = resolve(f"mysql://u@h/d?ssl_ca={pem}").connect_args
    assert arguments["ssl"].check_hostname
    assert arguments["ssl"].verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@h/d",
        f"postgresql://h/d?password={SECRET}",
        f"postgresql://h/d?user=u&sslpassword={SECRET}",
    ],
)
def test_no_secret_is_shown(url: str) -> None:
    shown = redact(make_url(url))
    assert SECRET not in shown
    assert "***" in shown
