"""Every field of every request, and every stored setting, has an effect that is seen here, or is refused (T9)."""

import pytest

from tests.acceptance.platform.effects import (
    accounts,
    budgets,
    changes,
    conversations,
    inquiries,
    keys,
    messages,
    runs,
    searches,
    starts,
    users,
)
from tests.acceptance.platform.effects.site import Effect, Site
from tests.support.provider import Provider
from tests.support.request_fields import fields_of
from tests.support.served import METHODS, Account, Client, Served

pytestmark = pytest.mark.platform("T9")

TABLES = (
    accounts.EFFECTS,
    keys.EFFECTS,
    users.EFFECTS,
    conversations.EFFECTS,
    messages.EFFECTS,
    inquiries.EFFECTS,
    runs.EFFECTS,
    changes.EFFECTS,
    searches.EFFECTS,
    starts.EFFECTS,
    budgets.EFFECTS,
)
EFFECTS: dict[str, Effect] = {field: effect for table in TABLES for field, effect in table.items()}


def test_every_field_of_every_request_is_in_the_table() -> None:
    """T9: a new field does not pass without an effect."""
    fields = {
        f"{name}.{'.'.join(path)}" for name, (_, method) in METHODS.items() for path, _ in fields_of(method.input_type)
    }
    assert fields == EFFECTS.keys()
    assert len(EFFECTS) == sum(len(table) for table in TABLES)


@pytest.mark.parametrize("field", EFFECTS)
@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
async def test_a_field_has_its_effect(
    server: Served, anyone: Client, ada: Account, provider: Provider, field: str
) -> None:
    """T9: what is sent is done, or refused, and never accepted and ignored."""
    await EFFECTS[field](Site(server=server, anyone=anyone, account=ada, provider=provider))
