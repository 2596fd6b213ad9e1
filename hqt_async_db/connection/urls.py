"""Turn the URLs that people paste into URLs of async drivers."""

from __future__ import annotations

import importlib.util
import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hqt_async_db.connection.backends.sqlite.locations import is_in_memory, refuse_ambiguous
from hqt_async_db.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENVIRONMENT_VARIABLE: Final = "HQT_DATABASE_URL"

_DEFAULT_DRIVER: Final = {
    "sqlite": "sqlite+hqt",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
_MODULE: Final = {
    "sqlite+hqt": "aiosqlite",
    "sqlite+aiosqlite": "aiosqlite",
    "postgresql+asyncpg": "asyncpg",
    "postgresql+psycopg": "psycopg",
    "postgresql+psycopg_async": "psycopg",
    "mysql+asyncmy": "asyncmy",
    "mysql+aiomysql": "aiomysql",
    "mariadb+asyncmy": "asyncmy",
    "mariadb+aiomysql": "aiomysql",
}
_EXTRA: Final = {"psycopg": "psycopg", "asyncmy": "mysql"}
_ACCEPTED: Final = ", ".join(f"{name}://" for name in (*_DEFAULT_DRIVER, *_MODULE))

# libpq spells these in seconds or words; asyncpg takes keyword arguments and
# raises TypeError on anything else.
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: a URL of an async driver and what it could not say.

    Attributes:
        url: URL with an async driver, as SQLAlchemy takes it.
        connect_args: Driver arguments translated from the query string.
        connect_timeout_s: ``connect_timeout`` of the query string, if given.
        query: The query string as it was given.
    """

    url: URL
    connect_args: dict[str, Any] = field(default_factory=dict)
    connect_timeout_s: float | None = None
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)

    @property
    def backend(self) -> str:
        """Return ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``."""
        return self.url.get_backend_name()

    @property
    def driver(self) -> str:
        """Return the name of the async driver, for example ``asyncpg``."""
        return self.url.get_driver_name()

    @property
    def is_memory(self) -> bool:
        """Tell whether this is SQLite without a file."""
        return self.backend == "sqlite" and is_in_memory(self.url)

    @property
    def given(self) -> URL:
        """Return the URL as it was given, but with an async driver."""
        return self.url.set(query=dict(self.query))

    def __str__(self) -> str:
        """Return the URL without any secret."""
        return redact(self.url)


def resolve(url: str | URL | None) -> Target:
    """Return the target of ``url``, or of ``HQT_DATABASE_URL`` for None.

    Raises:
        ConfigurationError: No URL, one that does not parse or could name two
            databases, an unknown or sync-only driver, or a driver that is not
            installed. The message shows no credential.
    """
    parsed = _parse(url if url is not None else os.environ.get(ENVIRONMENT_VARIABLE))
    drivername = _DEFAULT_DRIVER.get(parsed.drivername, parsed.drivername)
    drivername = drivername.removesuffix("_async")
    module = _MODULE.get(drivername)
    if module is None:
        msg = f"{parsed.drivername!r} is no async database driver; use one of {_ACCEPTED}"
        raise ConfigurationError(msg)
    if importlib.util.find_spec(module) is None:
        extra = f"hqt-async-db[{_EXTRA[module]}]" if module in _EXTRA else module
        msg = f"driver {module} is not installed; run: pip install '{extra}'"
        raise ConfigurationError(msg)
    if module == "aiosqlite":
        refuse_ambiguous(parsed)
    return _translate_query(parsed.set(drivername=drivername))


def redact(url: URL) -> str:
    """Return ``url`` with the password hidden, in the query string too."""
    query = {key: "***" if _is_secret(key) else value for key, value in url.query.items()}
    shown = url.set(query=query).render_as_string(hide_password=True)
    return shown.replace("%3Amemory%3A", ":memory:").replace("%2A%2A%2A", "***")


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("pass", "secret", "token", "key"))


def _parse(url: str | URL | None) -> URL:
    if isinstance(url, URL):
        return url
    if not url:
        msg = f"no database URL: pass one, or set {ENVIRONMENT_VARIABLE}"
        raise ConfigurationError(msg)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        pass
    else:
        # A password with a bare @ leaves its rest in the host, where it would be shown.
        if "@" not in (parsed.host or ""):
            return parsed
    # Outside the handler: SQLAlchemy's text repeats the URL, password included.
    msg = (
        "the database URL does not parse; expected for example sqlite:///hqt.db or "
        "postgresql://user:password@host:5432/name, with special characters in the "
        "password percent-encoded"
    )
    raise ConfigurationError(msg)


def _translate_query(url: URL) -> Target:
    translate = _QUERY_TRANSLATORS.get(url.get_driver_name())
    if translate is None:
        return Target(url, query=url.query)
    query = {key: value for key, value in url.query.items() if isinstance(value, str)}
    # What is given several times (hosts) stays: SQLAlchemy reads it itself.
    left = {key: value for key, value in url.query.items() if key not in query}
    arguments, timeout_s = translate(query)
    return Target(url.set(query=left), arguments, timeout_s, url.query)


def _asyncpg_arguments(query: dict[str, str]) -> tuple[dict[str, Any], float | None]:
    """Translate libpq's connection parameters to asyncpg's keywords."""
    arguments: dict[str, Any] = {}
    settings: dict[str, str] = {}
    timeout = query.pop("connect_timeout", None)
    for key in ("application_name", "search_path", "options"):
        if key in query:
            settings[key] = query.pop(key)
    if "target_session_attrs" in query:
        arguments["target_session_attrs"] = query.pop("target_session_attrs")
    for key in ("user", "password", "host", "port", "database", "dbname", "passfile"):
        if key in query:
            name = "database" if key == "dbname" else key
            value = query.pop(key)
            arguments[name] = int(value) if key == "port" else value
    arguments |= _tls(query)
    if settings:
        arguments["server_settings"] = settings
    known = ("prepared_statement_cache_size", "statement_cache_size", "command_timeout")
    for key in known:
        if key in query:
            arguments[key] = _number(key, query.pop(key))
    _refuse_unknown(query, "asyncpg")
    return arguments, None if timeout is None else _number("connect_timeout", timeout)


def _mysql_arguments(query: dict[str, str]) -> tuple[dict[str, Any], float | None]:
    """Translate the query string of MySQL URLs to keywords of the driver."""
    arguments: dict[str, Any] = {}
    timeout = query.pop("connect_timeout", None)
    for key in ("charset", "unix_socket", "password", "user"):
        if key in query:
            arguments[key] = query.pop(key)
    arguments |= _mysql_tls(query)
    _refuse_unknown(query, "MySQL")
    return arguments, None if timeout is None else _number("connect_timeout", timeout)


def _tls(query: dict[str, str]) -> dict[str, Any]:
    mode = query.pop("sslmode", query.pop("ssl", None))
    files = [query.pop(key, None) for key in ("sslrootcert", "sslcert", "sslkey")]
    if mode is None and not any(files):
        return {}
    if mode is not None and mode not in _SSL_MODES:
        msg = f"sslmode must be one of {', '.join(_SSL_MODES)}"
        raise ConfigurationError(msg)
    if not any(files):
        return {"ssl": mode}
    root, certificate, key = files
    return {"ssl": _context(mode or "verify-full", root, certificate, key)}


def _mysql_tls(query: dict[str, str]) -> dict[str, Any]:
    root, certificate, key = (query.pop(k, None) for k in ("ssl_ca", "ssl_cert", "ssl_key"))
    verify_host = query.pop("ssl_check_hostname", "true").lower() in ("1", "true", "yes")
    if not (root or certificate or key):
        return {}
    mode = "verify-full" if verify_host else "verify-ca"
    return {"ssl": _context(mode, root, certificate, key)}


def _context(
    mode: str, root: str | None, certificate: str | None, key: str | None
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=root)
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        msg = f"a TLS certificate or key of the URL cannot be read: {error.strerror}"
        raise ConfigurationError(msg) from None
    context.check_hostname = mode == "verify-full"
    if mode in ("allow", "prefer", "require") and root is None:
        context.verify_mode = ssl.CERT_NONE
    return context


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        msg = f"{key} in the URL must be a number"
        raise ConfigurationError(msg) from None
    return int(number) if number.is_integer() else number


def _refuse_unknown(query: dict[str, str], driver: str) -> None:
    if query:
        msg = f"{driver} does not know these parameters of the URL: {', '.join(sorted(query))}"
        raise ConfigurationError(msg)


_QUERY_TRANSLATORS: Final[
    dict[str, Callable[[dict[str, str]], tuple[dict[str, Any], float | None]]]
] = {
    "asyncpg": _asyncpg_arguments,
    "asyncmy": _mysql_arguments,
    "aiomysql": _mysql_arguments,
}
