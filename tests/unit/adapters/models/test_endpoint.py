"""An endpoint's configuration refuses what cannot work, and hides its key."""

import math

import pytest

from chatter_grpc.adapters.models.endpoint import EndpointConfig
from tests.support.chats import KEY


def endpoint(**settings: object) -> EndpointConfig:
    defaults: dict[str, object] = {"provider": "p", "base_url": "https://provider.example/v1", "models": ("m",)}
    return EndpointConfig(**(defaults | settings))  # type: ignore[arg-type]


@pytest.mark.platform("T7")
def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(endpoint(api_key=KEY))
    with pytest.raises(ValueError, match="api_key") as caught:
        endpoint(api_key=KEY + "\n")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"provider": ""},
        {"provider": "Open AI"},
        {"provider": "a/b"},
        {"provider": "x" * 51},
        {"base_url": ""},
        {"base_url": "provider.example/v1"},
        {"base_url": "ftp://provider.example"},
        {"base_url": "https://"},
        {"base_url": "https://provider.example:99999/v1"},
        {"base_url": "https://provider.example/v1?key=1"},
        {"base_url": "https://user:password@provider.example/v1"},
        {"base_url": f"https://{'x' * 70}.example/v1"},
        {"api_key": "two words"},
        {"api_key": "schl\u00fcssel"},
        {"models": ("",)},
        {"models": ("with space",)},
        {"models": ("m", "m")},
        {"connect_seconds": 0},
        {"first_token_seconds": -1},
        {"idle_seconds": math.nan},
        {"max_attempts": 0},
        {"max_event_bytes": 0},
        {"backoff_seconds": -0.1},
        {"backoff_max_seconds": -1},
        {"retry_after_max_seconds": math.nan},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="provider"):
        endpoint(**settings)


def test_openais_own_address_has_its_own_name_for_the_limit_of_tokens() -> None:
    assert endpoint(base_url="https://api.openai.com/v1").limit_field == "max_completion_tokens"
    assert endpoint(base_url="https://me.openai.azure.com/openai/v1").limit_field == "max_completion_tokens"
    assert endpoint().limit_field == "max_tokens"
    assert endpoint(token_limit_field="max_completion_tokens").limit_field == "max_completion_tokens"
