"""A model's call is observed from its beginning to its end, and goes on as it is."""

from collections.abc import AsyncGenerator, Sequence
from typing import cast

import pytest

from chatter_grpc.adapters.models.scripted import CallState, Script, ScriptedChat, Together, answer_script
from chatter_grpc.core.errors import ProviderUnavailable
from chatter_grpc.core.models import Finished, FinishReason, ModelDelta, TextPiece, TokenCount
from chatter_grpc.core.observation import ModelObservation, Observers, Unobserved
from chatter_grpc.core.observed_chat import ObservedChat
from tests.support.deltas import ask, deltas_of, text_of

QUESTION = ask("Hello?", model="scripted/model")


class Notebook(Unobserved):
    """Writes down what it hears of models' calls."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def model_call(self, model: str, provider: str) -> ModelObservation:
        self.heard.append(f"{provider} {model}")
        return self

    def answering(self) -> None:
        self.heard.append("answering")

    def ended(self, reason: str) -> None:
        self.heard.append(f"ended {reason}".rstrip())


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def observed(script: Script, notebook: Notebook) -> tuple[ScriptedChat, ObservedChat]:
    chat = ScriptedChat(script)
    return chat, ObservedChat(chat, Observers((notebook, Unobserved())))


async def test_an_answer_is_begun_once_and_ended(notebook: Notebook) -> None:
    _, chat = observed(answer_script("one two three"), notebook)
    deltas = await deltas_of(chat, QUESTION)
    assert text_of(deltas) == "one two three"
    assert notebook.heard == ["scripted scripted/model", "answering", "ended"]


async def test_what_is_no_piece_of_the_answer_does_not_begin_it(notebook: Notebook) -> None:
    count, end = TokenCount(1, 1), Finished(FinishReason.STOP)
    _, chat = observed((Together((count,)), Together((count, TextPiece("x"), end))), notebook)
    batches = cast("AsyncGenerator[Sequence[ModelDelta]]", chat.stream(QUESTION))
    assert await anext(batches) == (count,)
    assert "answering" not in notebook.heard
    assert len(await anext(batches)) == 3
    assert notebook.heard[-1] == "answering"
    await batches.aclose()


async def test_a_failure_is_told_by_its_reason_and_raised_on(notebook: Notebook) -> None:
    _, chat = observed((ProviderUnavailable(provider="scripted"),), notebook)
    with pytest.raises(ProviderUnavailable):
        await deltas_of(chat, QUESTION)
    assert notebook.heard[1:] == ["ended PROVIDER_UNAVAILABLE"]


async def test_closing_it_closes_the_providers_connection(notebook: Notebook) -> None:
    script, chat = observed(answer_script("one two three"), notebook)
    batches = cast("AsyncGenerator[Sequence[ModelDelta]]", chat.stream(QUESTION))
    await anext(batches)
    await batches.aclose()
    assert [call.state for call in script.calls] == [CallState.CLOSED]
    assert notebook.heard[-1] == "ended CANCELLED"
