"""The configuration reference: every setting, read from environment variables that begin with ``CHATTER_``.

No setting at all is a complete configuration: everything then lives in one directory of this machine. Lists and maps
are written as JSON. A variable that begins with ``CHATTER_`` and is no setting is refused at start.
"""

import difflib
import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict, SettingsError

from chatter_grpc.config_housekeeping import SettingsOfHousekeeping
from chatter_grpc.config_models import SettingsOfModels
from chatter_grpc.config_runs import SettingsOfRuns
from chatter_grpc.config_types import Count, Seconds

PREFIX: Final = "CHATTER_"
# What clients read of the same environment, where both are used in one shell.
OF_CLIENTS: Final = frozenset({"server", "api_key", "subject", "login", "password"})


class ConfigurationFault(Exception):
    """The configuration cannot be used; the message names each setting at fault and why."""


class Settings(SettingsOfHousekeeping, SettingsOfModels, SettingsOfRuns):
    """Every setting with its default; times are in seconds unless a name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    data_dir: Annotated[Path, AfterValidator(Path.absolute), Field(validate_default=True)] = Path(".chatter")
    """Where embedded data lives: the SQLite database and the server's secret. Made with mode 0700."""

    database_url: SecretStr | None = None
    """`postgresql://user@host/name`, or `sqlite:///path`. Unset: SQLite in `CHATTER_DATA_DIR`, the embedded mode."""

    database_pool_size: Count = 10
    """Connections that one process holds at most, beside the one that writes run logs and, on PostgreSQL, the one that
    listens for wake-ups."""

    database_seconds: Seconds = 10.0
    """How long a connection, and each statement, is waited for."""

    redis_url: SecretStr | None = None
    """`redis://host`, `rediss://host` or `unix:///path`: what servers on one database share their limits and wake-ups
    through. Nothing is lost with it: while it is away each process counts for itself, and PostgreSQL carries wake-ups.
    Unset: always so."""

    redis_milliseconds: Annotated[int, Field(ge=1, le=60_000)] = 100
    """How long Redis is waited for. After three answers in a row that came too late nobody waits until it is back."""

    secret: SecretStr | None = None
    """The secret from which all keys are derived, the same on all replicas, at least 32 bytes. Unset in embedded mode:
    made on first start, in `CHATTER_DATA_DIR`. Required with any other database."""

    listen: str = "127.0.0.1:50051"
    """Where to serve: `host:port` (port 0: any free one) or `unix:/path`. An address that other machines reach needs
    `CHATTER_TLS_CERT_FILE`, or `CHATTER_INSECURE` where a proxy encrypts."""

    tls_cert_file: Path | None = None
    """The server's TLS certificate and its chain, in PEM, its own first. Unset: connections are not encrypted. Read
    again when it changes, like the two files below: new connections see the new one."""

    tls_key_file: Path | None = None
    """The private key of the certificate, in PEM, without a password."""

    tls_client_ca_file: Path | None = None
    """Authorities in PEM: a client has to show a certificate of one of them (mutual TLS). Unset: clients need none.
    It lets a connection in and says nothing of the caller, who needs a token or a key all the same."""

    insecure: bool = False
    """Whether to serve unencrypted where other machines can reach it, because a proxy in front or the network between
    encrypts. Without it such an address is refused at start."""

    keepalive_seconds: Seconds = 60.0
    """After how much silence a connection with open calls is pinged, so that one whose client is gone is found."""

    keepalive_timeout_seconds: Seconds = 20.0
    """How long the answer to that ping is waited for before the connection is closed."""

    shortest_ping_seconds: Seconds = 10.0
    """How often a client may ping by itself; one that does so faster is disconnected."""

    max_streams_per_connection: Count = 1_000
    """Calls that one connection may have open; further ones wait in the client until one ends."""

    max_connection_age_seconds: Seconds | None = None
    """How old a connection may become before its client is asked to connect anew, which spreads clients over replicas
    that came later. Calls that are open go on to their end. Unset: for ever."""

    metrics_listen: str | None = None
    """Where to serve metrics for Prometheus at `/metrics` and the health at `/healthz`, by plain HTTP and to anyone who
    reaches it: `host:port`, or a port alone on 127.0.0.1 (0: any free one, which the log tells). Unset: nowhere."""

    otlp_endpoint: str | None = None
    """A collector of OpenTelemetry traces that speaks OTLP over gRPC: `http://host:4317`, or `https://` where it is
    encrypted. Needs the extra `telemetry`. Unset: no traces."""

    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of calls and runs that are traced. A call whose caller sent a `traceparent` is as the caller has it."""

    registration: bool = True
    """Whether anyone may make an account with Register."""

    access_token_minutes: Annotated[int, Field(ge=1, le=60)] = 20
    """How long an access token holds."""

    refresh_token_days: Annotated[int, Field(ge=1, le=365)] = 7
    """How long a refresh token holds; each Refresh gives out the next one."""

    login_failures_per_account: Count = 5
    """Failed logins for one account within 15 minutes before further ones are refused."""

    login_failures_per_address: Count = 20
    """Failed logins from one address within 15 minutes before further ones are refused."""

    registrations_per_address: Count = 100
    """New accounts from one address within an hour before further ones are refused."""

    auth_calls_per_minute: Count = 60
    """Calls of the rate class `auth` for each caller, or address where there is no caller yet."""

    read_calls_per_minute: Count = 1_200
    """Calls of the rate class `read` for each caller."""

    write_calls_per_minute: Count = 600
    """Calls of the rate class `write` for each caller."""

    start_calls_per_minute: Count = 120
    """Calls of the rate class `start`, which start runs, for each caller."""

    streams_per_caller: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Streams that one caller may have open at a time; 0: any number. On all servers together where there is Redis, on
    each of them otherwise."""

    messages_per_day: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Messages that an account, with all its subjects, may have answered in a day (UTC), unless the account has a limit
    of its own; 0: any number. They are counted in the database while a limit is in force."""

    messages_per_month: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """The same for a calendar month (UTC)."""

    trusted_proxies: tuple[str, ...] = ()
    """Proxies in front of the server: addresses, networks such as `10.0.0.0/8`, or `unix` for whoever may open its unix
    socket. Of calls that they pass on, `x-forwarded-for` names the client, for limits and for the audit log."""

    max_request_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 4 * 1024 * 1024 - 64 * 1024
    """Larger requests are refused. A message is read back whole, with a little more than was sent: stock clients take
    answers of up to 4 MiB, so that above the default they have to be told to take more."""

    stop_seconds: Seconds = 30.0
    """How long a server that is told to stop lets its runs and calls come to their end."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged. No level shows passwords, tokens, keys, prompts or messages."""

    log_format: Literal["auto", "json", "console"] = "auto"
    """How it is logged: one JSON object a line, or for a person's eyes; `auto` asks whether it is a terminal."""

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        # gRPC itself takes the last 16 bits of a larger port.
        found = re.fullmatch(r"unix:/.+|.+:(?P<port>\d{1,5})", value)
        if found is None or int(found["port"] or 0) > 65_535:
            raise ValueError("expected host:port with a port up to 65535, or unix:/path")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each != "unix":
                try:
                    ip_network(each, strict=False)
                except ValueError:
                    raise ValueError("expected addresses, networks such as 10.0.0.0/8, or unix") from None
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _check_metrics_listen(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = re.fullmatch(r"(?:(?P<host>.+):)?(?P<port>\d{1,5})", value)
        if found is None or int(found["port"]) > 65_535:
            raise ValueError("expected host:port, or a port, up to 65535")
        return f"{found['host'] or '127.0.0.1'}:{found['port']}"

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_otlp_endpoint(cls, value: str | None) -> str | None:
        if value is not None and re.fullmatch(r"https?://[^/?#@]+", value) is None:
            raise ValueError("expected http://host:port or https://host:port")
        return value

    @property
    def embedded(self) -> bool:
        """Whether all data lives in ``data_dir``."""
        return self.database_url is None

    @property
    def database(self) -> str:
        """The database's URL; it may hold a password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'chatter.db'}"


def load_settings(**given: object) -> Settings:
    """Read the settings from the environment; ``given`` goes before it, and an empty variable counts as unset.

    Raises ``ConfigurationFault`` for values that do not fit and for variables that are no settings.
    """
    strangers = [
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and name[len(PREFIX) :].lower() not in Settings.model_fields.keys() | OF_CLIENTS
    ]
    if strangers:
        raise ConfigurationFault("\n".join(_unknown(name) for name in sorted(strangers)))
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigurationFault(_explain(error)) from None
    except SettingsError as error:
        # Its text names the field, and a source that is always the environment.
        found = re.search(r'field "(\w+)"', str(error))
        place = f"{PREFIX}{found[1].upper()}" if found else str(error)
        raise ConfigurationFault(f"{place}: lists and maps are written as JSON") from None


def _unknown(name: str) -> str:
    known = [f"{PREFIX}{setting.upper()}" for setting in Settings.model_fields]
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"{name} is no setting" + (f"; did you mean {close[0]}?" if close else "")


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{PREFIX}{place.upper()}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
