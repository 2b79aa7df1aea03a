"""Every setting is documented, has an effect, and is refused with its name where it does not fit."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

import chatter_grpc
from chatter_grpc.config import PREFIX, ConfigurationFault, Settings, load_settings

PACKAGE = Path(chatter_grpc.__file__).parent

# T9: what changes where a setting does. A new setting finds its place here or does not pass.
EFFECTS = {
    "data_dir": "where the database and the secret are; who else may serve from there",
    "database_url": "which database holds the data; that a secret is asked for",
    "database_pool_size": "how many connections the process opens at most",
    "database_seconds": "when a call is answered STORAGE_UNAVAILABLE",
    "redis_url": "that servers share one count of calls, and wake one another through it",
    "redis_milliseconds": "when a Redis that does not answer is taken for away",
    "secret": "which tokens, API keys and cursors are taken",
    "listen": "the address that is announced and served",
    "tls_cert_file": "that connections are encrypted, and the certificate that they are shown",
    "tls_key_file": "that connections are encrypted",
    "tls_client_ca_file": "that clients without a certificate are refused, and whose are taken",
    "insecure": "that an address which others reach is served without a certificate",
    "keepalive_seconds": "when a silent connection is pinged",
    "keepalive_timeout_seconds": "when a connection whose client is gone is closed",
    "shortest_ping_seconds": "how often a client may ping before it is disconnected",
    "max_streams_per_connection": "how many calls of one connection are served at a time",
    "max_connection_age_seconds": "when a connection takes no further calls",
    "metrics_listen": "where metrics and health are answered by HTTP",
    "otlp_endpoint": "which collector gets spans",
    "trace_ratio": "how many calls it gets spans of",
    "registration": "Register answers REGISTRATION_CLOSED; GetServerInfo.registration_open",
    "access_token_minutes": "TokenPair.access_expire_time",
    "refresh_token_days": "TokenPair.refresh_expire_time",
    "login_failures_per_account": "Login answers LOGIN_THROTTLED for an account",
    "login_failures_per_address": "Login answers LOGIN_THROTTLED for an address",
    "registrations_per_address": "Register answers RATE_LIMITED for an address",
    "auth_calls_per_minute": "RATE_LIMITED with the limit class auth",
    "read_calls_per_minute": "RATE_LIMITED with the limit class read",
    "write_calls_per_minute": "RATE_LIMITED with the limit class write",
    "start_calls_per_minute": "RATE_LIMITED with the limit class start",
    "streams_per_caller": "TOO_MANY_STREAMS",
    "messages_per_day": "MESSAGE_QUOTA_EXCEEDED with the period day",
    "messages_per_month": "MESSAGE_QUOTA_EXCEEDED with the period month",
    "trusted_proxies": "whose calls count together, and the address in the log",
    "max_request_bytes": "REQUEST_TOO_LARGE; GetServerInfo.max_request_bytes",
    "default_model": "GetServerInfo.default_model; the model of a message",
    "openai_api_key": "the authorization that the provider is sent",
    "openai_base_url": "where the provider is called",
    "openai_models": "GetServerInfo.models",
    "endpoints": "GetServerInfo.models",
    "anthropic_api_key": "the key that the provider anthropic is sent",
    "anthropic_models": "GetServerInfo.models",
    "anthropic_base_url": "where the provider anthropic is called",
    "google_api_key": "the key that the provider google is sent",
    "google_models": "GetServerInfo.models",
    "google_base_url": "where the provider google is called",
    "mistral_api_key": "the key that the provider mistral is sent",
    "mistral_models": "GetServerInfo.models",
    "mistral_base_url": "where the provider mistral is called",
    "ollama_models": "GetServerInfo.models",
    "ollama_base_url": "where the provider ollama is called",
    "ollama_api_key": "the authorization that the provider ollama is sent",
    "aws_models": "GetServerInfo.models",
    "aws_region": "the region in the signature that the provider aws is sent, and where it is called",
    "aws_endpoint_url": "where the provider aws is called",
    "aws_access_key_id": "the key in the signature that the provider aws is sent",
    "aws_secret_access_key": "that signature",
    "aws_session_token": "the token beside that signature",
    "models_file": "Usage.cost_micros; GetServerInfo.models",
    "fallbacks": "which provider is called next, and Message.model",
    "provider_connect_seconds": "PROVIDER_TIMEOUT in the phase connect",
    "provider_first_token_seconds": "PROVIDER_TIMEOUT in the phase first_token",
    "provider_idle_seconds": "PROVIDER_TIMEOUT in the phase idle",
    "provider_attempts": "how often the provider is called",
    "provider_connections": "how many connections the provider sees",
    "offline_token_milliseconds": "the pace of the built-in model",
    "run_seconds": "RUN_TIMEOUT",
    "run_tokens": "where an answer is cut off, and BUDGET_EXCEEDED",
    "run_cost_micros": "the same by money, and BUDGET_UNPRICED",
    "max_answer_bytes": "how long an answer is stored that goes on and on",
    "runs_per_owner": "SendMessage answers TOO_MANY_RUNS; how many detached runs of an owner are at work",
    "pending_runs_per_owner": "CreateRun answers TOO_MANY_PENDING_RUNS",
    "detached_runs": "how many pending runs a process begins",
    "lease_seconds": "when the run of a process that is gone is gone on with elsewhere",
    "reaper_seconds": "how soon after that",
    "cancel_seconds": "when CancelRun answers although the process at work does not",
    "commit_milliseconds": "how long another process waits for an event",
    "housekeeping_seconds": "how often a run removes what has had its time, and whether this process begins one",
    "compact_after_hours": "when the log of a run that ended is compacted",
    "audit_days": "how long rows of the audit log are there",
    "stop_seconds": "how long a server that is told to stop lets its runs go on",
    "log_level": "which lines are logged",
    "log_format": "whether they are JSON",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


def names_read(path: Path, name: str) -> Iterator[str]:
    """The attributes that a module reads of a variable."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            yield node.attr


@pytest.mark.platform("T9")
def test_every_setting_has_an_effect_that_is_written_down() -> None:
    assert EFFECTS.keys() == Settings.model_fields.keys()


@pytest.mark.platform("T9")
def test_every_setting_is_read_where_the_server_is_built() -> None:
    """T9: none is accepted and ignored."""
    modules = (*(PACKAGE / "app").glob("*.py"), PACKAGE / "cli" / "serve.py")
    read = {name for module in modules for name in names_read(module, "settings")}
    # These two are read through the properties `database` and `embedded`.
    if {"database", "embedded"} <= read:
        read |= set(names_read(PACKAGE / "config.py", "self"))
    assert not Settings.model_fields.keys() - read


def test_every_setting_says_what_it_means() -> None:
    assert not [name for name, field in Settings.model_fields.items() if len(field.description or "") < 20]


def test_no_setting_at_all_is_the_embedded_mode() -> None:
    settings = load_settings()
    assert settings.embedded
    assert settings.database == f"sqlite:///{Path('.chatter/chatter.db').absolute()}"


def test_a_variable_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_RUN_SECONDS", "12.5")
    monkeypatch.setenv("CHATTER_OPENAI_MODELS", '["a", "b"]')
    settings = load_settings()
    assert (settings.run_seconds, settings.openai_models) == (12.5, ("a", "b"))


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_LISTEN", "127.0.0.1:1")
    assert load_settings(listen="127.0.0.1:2").listen == "127.0.0.1:2"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_DATABASE_URL", "")
    assert load_settings().embedded


def test_what_clients_read_of_the_same_environment_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHATTER_SERVER", "CHATTER_API_KEY", "CHATTER_SUBJECT", "CHATTER_LOGIN", "CHATTER_PASSWORD"):
        monkeypatch.setenv(name, "planted")
    assert "planted" not in str(load_settings().model_dump())


def test_a_variable_that_is_no_setting_is_refused_with_the_closest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_RUN_SECOND", "1")
    with pytest.raises(ConfigurationFault, match=r"^CHATTER_RUN_SECOND is no setting; .* CHATTER_RUN_SECONDS\?$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUN_SECONDS", "0"),
        ("RUN_SECONDS", "soon"),
        ("DATABASE_POOL_SIZE", "-1"),
        ("ACCESS_TOKEN_MINUTES", "61"),
        ("REGISTRATION", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LISTEN", "127.0.0.1"),
        ("LISTEN", "127.0.0.1:65536"),
        ("LISTEN", "127.0.0.1:http"),
        ("LISTEN", ":50051"),
        ("OPENAI_MODELS", "gpt-4o"),
        ("TRUSTED_PROXIES", '["10.0.0.0/8", "a proxy"]'),
        ("TRUSTED_PROXIES", '["10.0.0.0/33"]'),
        ("ENDPOINTS", '{"local": {"models": ["llama"]}}'),
        ("ENDPOINTS", '{"local": {"base_url": "http://x", "models": [], "api_kee": "k"}}'),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_settings_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(ConfigurationFault, match=f"^CHATTER_{name}"):
        load_settings()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:50051", "0.0.0.0:65535", "localhost:80", "unix:/run/chatter"])
def test_addresses_that_can_be_served_are_taken(listen: str) -> None:
    assert load_settings(listen=listen).listen == listen


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_RUN_SECONDS", "0")
    monkeypatch.setenv("CHATTER_STOP_SECONDS", "0")
    with pytest.raises(ConfigurationFault) as caught:
        load_settings()
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "CHATTER_RUN_SECONDS",
        "CHATTER_STOP_SECONDS",
    ]


def test_secrets_are_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_SECRET", "planted")
    monkeypatch.setenv("CHATTER_DATABASE_URL", "postgresql://user:planted@host/name")
    monkeypatch.setenv("CHATTER_REDIS_URL", "redis://:planted@host")
    monkeypatch.setenv("CHATTER_OPENAI_API_KEY", "planted")
    endpoint = '{"base_url": "http://x", "models": ["m"], "api_key": "planted"}'
    monkeypatch.setenv("CHATTER_ENDPOINTS", f'{{"local": {endpoint}}}')
    settings = load_settings()
    assert "planted" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_a_fault_does_not_repeat_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTER_ENDPOINTS", '{"local": {"api_key": "planted"}}')
    with pytest.raises(ConfigurationFault) as caught:
        load_settings()
    assert "planted" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().run_seconds = 1.0  # type: ignore[misc]
