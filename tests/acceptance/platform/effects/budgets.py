"""What each bound of a budget does, however a run is started."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from chatter_grpc._gen.chatter.v1 import error_reason_pb2, run_pb2
from tests.acceptance.platform.effects.inquiries import STARTS
from tests.acceptance.platform.effects.site import Effect, Site
from tests.support.openai_plans import Fault, Plan
from tests.support.served import message

# "Hello", by the server's estimate; and what the model costs, in micro-dollars a token.
HELLO, INPUT_PRICE, OUTPUT_PRICE = 2, 2, 10
ANSWER: Final = Plan(text="one two three four five")


async def run_with(site: Site, method: str, plan: Plan, **budget: Any) -> Any:
    """Have a run started with a budget, whose model answers by a plan, and return it, ended."""
    conversation_id = (await site.client.conversation()).id
    # The first answer is the one that is regenerated.
    site.provider.plan(*([Plan()] if method == "RegenerateMessage" else []), plan)
    return await STARTS[method](site, conversation_id, budget=budget)


async def refusal(site: Site, method: str, budget: Mapping[str, Any], **fields: Any) -> str:
    """Return why a start is refused."""
    conversation_id = (await site.client.conversation()).id
    asked = message(conversation_id, "Hello", budget=budget, **fields)
    if method == "RegenerateMessage":
        await site.answered(conversation_id)
        (question, _) = await site.client.messages(conversation_id)
        asked = {"request_id": asked["request_id"], "message_id": question.id, "budget": budget, **fields}
    return await site.client.reason(method, **asked)


async def cuts_off(site: Site, method: str, **budget: Any) -> None:
    """Whether a budget for three tokens of output gives three, and the run says that it holds."""
    run = await run_with(site, method, ANSWER, **budget)
    assert site.provider.calls[-1].body["max_tokens"] == 3
    assert (run.state, run.usage.output_tokens) == (run_pb2.RUN_STATE_COMPLETED, 3)
    assert {name: getattr(run.budget, name) for name in budget} == budget
    assert run.budget.HasField("max_duration"), "the server's limit, where the caller set none"


def bounds_tokens(method: str) -> Effect:
    """So many are asked for as are left, and none where none are."""

    async def effect(site: Site) -> None:
        await cuts_off(site, method, max_tokens=HELLO + 3)
        assert await refusal(site, method, {"max_tokens": HELLO}) == "BUDGET_EXCEEDED"
        for none in (0, -1, 10**12 + 1):
            assert await refusal(site, method, {"max_tokens": none}) == "FIELD_INVALID"

    return effect


def bounds_money(method: str) -> Effect:
    """The price says how many tokens there are for it, and has to be known."""

    async def effect(site: Site) -> None:
        await cuts_off(site, method, max_cost_micros=HELLO * INPUT_PRICE + 3 * OUTPUT_PRICE)
        some = {"max_cost_micros": 10**6}
        assert await refusal(site, method, some, overrides={"model": "openai/other"}) == "BUDGET_UNPRICED"
        assert await refusal(site, method, {"max_cost_micros": HELLO * INPUT_PRICE}) == "BUDGET_EXCEEDED"
        for none in (0, -1, 10**12 + 1):
            assert await refusal(site, method, {"max_cost_micros": none}) == "FIELD_INVALID"

    return effect


def bounds_time(method: str) -> Effect:
    """A run that takes longer ends, with what was written."""

    async def effect(site: Site) -> None:
        half = Duration(nanos=500_000_000)
        run = await run_with(site, method, Plan(text="one two", fault=Fault.STALL, after=1), max_duration=half)
        assert (run.state, run.failure.reason) == (run_pb2.RUN_STATE_FAILED, error_reason_pb2.ERROR_REASON_RUN_TIMEOUT)
        assert run.budget == run_pb2.Budget(max_duration=half)
        assert [each.parts[0].text.text for each in await site.client.messages(run.conversation_id)][-1] == "one"
        for none in (Duration(), Duration(seconds=-1), Duration(nanos=-1), Duration(seconds=1, nanos=-1)):
            assert await refusal(site, method, {"max_duration": none}) == "FIELD_INVALID"

    return effect


EFFECTS: Final[Mapping[str, Effect]] = {
    f"{method}.budget.{bound}": effect(method)
    for method in STARTS
    for bound, effect in (
        ("max_tokens", bounds_tokens),
        ("max_cost_micros", bounds_money),
        ("max_duration", bounds_time),
    )
}
