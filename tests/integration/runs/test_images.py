"""Images in conversations: which of them a model is shown, whoever begins the run, and what stands for the others."""

from typing import Any

import pytest

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.conversations import Conversation, Memory, ModelSettings
from chatter_grpc.core.errors import ContextExceeded, FieldInvalid, ImagesNotTaken
from chatter_grpc.core.images import image_part
from chatter_grpc.core.inquiries import words_for
from chatter_grpc.core.messages import Part, TextPart
from chatter_grpc.core.models import Image, Role, Turn
from chatter_grpc.core.runs import turns
from chatter_grpc.core.runs.run import LogCommitter, RunInput, RunState
from chatter_grpc.core.storage import Storage
from tests.support.catalogues import Catalogue
from tests.support.images import GIF, PNG
from tests.support.replicas import Process, stored_messages
from tests.support.waiting import eventually

WORDS = words_for("image/png")
PICTURE = Image(media_type="image/png", data=PNG)


class Site:
    """A process whose default model takes images, and another model that takes none."""

    def __init__(self, storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation) -> None:
        self.chat = ScriptedChat(answer_script("I see."))
        models = Catalogue({"seeing": self.chat, "blind": self.chat})
        models.know("scripted/seeing", takes_images=True, context_tokens=1_000_000)
        self.process = Process(storage, committer, models)
        self.storage, self.caller, self.conversation = storage, caller, conversation

    async def send(self, *parts: Part, **more: Any) -> list[Turn]:
        """Send a message and return what the model was given."""
        run_id = await self.process.send(self.caller, self.conversation.id, parts=parts, **more)

        async def has_ended() -> bool:
            return (await self.process.run_of(self.caller, run_id)).state is RunState.COMPLETED

        await eventually(has_ended)
        return list(self.chat.calls[-1].request.turns)


@pytest.fixture
def site(storage: Storage, committer: LogCommitter, caller: Caller, conversation: Conversation) -> Site:
    return Site(storage, committer, caller, conversation)


def overrides(model: str) -> ModelSettings:
    return ModelSettings(model=model)


def png(number: int = 0) -> Part:
    return image_part("image/png", PNG + bytes([number]))


def shown(given: list[Turn]) -> list[int]:
    """The numbers of the images that a model was shown."""
    return [image.data[-1] for turn in given for image in turn.images]


async def test_a_model_that_takes_images_is_shown_those_of_before_too(site: Site) -> None:
    async with site.process:
        await site.send(TextPart(text="Look"), image_part("image/png", PNG), TextPart(text=" here"))
        given = await site.send(image_part("image/gif", GIF))
    assert given == [
        Turn(role=Role.USER, text="Look here", images=(PICTURE,)),
        Turn(role=Role.ASSISTANT, text="I see."),
        Turn(role=Role.USER, text="", images=(Image(media_type="image/gif", data=GIF),)),
    ]


async def test_words_stand_for_them_where_the_model_takes_none(site: Site) -> None:
    async with site.process:
        await site.send(TextPart(text="Look"), png(), png())
        given = await site.send(TextPart(text="What was it?"), overrides=overrides("scripted/blind"))
    assert [turn.text for turn in given] == [f"Look\n{WORDS}\n{WORDS}", "I see.", "What was it?"]
    assert shown(given) == []


async def test_no_image_is_read_that_the_model_is_not_shown(site: Site) -> None:
    async with site.process:
        await site.send(png(1))
        await site.send(TextPart(text="And?"))
    *_, question, _ = await stored_messages(site.storage, site.caller, site.conversation.id)
    for takes, numbers in ((True, [1]), (False, [])):
        run_input = RunInput(
            user_message_id=question.id,
            before_index=question.index,
            settings=ModelSettings(),
            memory=Memory(),
            takes_images=takes,
        )
        async with site.storage.read() as tx:
            given = await turns.remembered_turns(tx, run_input, question)
        assert shown(list(given)) == numbers


async def test_of_many_images_the_latest_are_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REMEMBERED_IMAGES", 3)
    async with site.process:
        await site.send(png(1))
        await site.send(png(2), png(3))
        await site.send(TextPart(text="And"), png(4))
        given = await site.send(png(5), png(6))
    assert shown(given) == [2, 3, 4, 5, 6], "the message's own are beside the bound"
    assert given[0] == Turn(role=Role.USER, text=WORDS)


async def test_of_large_images_the_latest_are_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REMEMBERED_IMAGE_BYTES", 2 * len(PNG) + 2)
    async with site.process:
        for number in (1, 2, 3):
            await site.send(png(number))
        assert shown(await site.send(TextPart(text="And?"))) == [2, 3]


async def test_a_run_that_begins_elsewhere_is_shown_the_same(site: Site) -> None:
    async with site.process:
        await site.send(png(1))
        given = await site.send(TextPart(text="Now"), png(2), detached=True)
    assert (shown(given), given[-1].text) == ([1, 2], "Now")


async def test_an_answer_that_is_given_again_is_given_to_the_same_images(site: Site) -> None:
    async with site.process:
        await site.send(TextPart(text="Look"), png(1))
        question, _ = await stored_messages(site.storage, site.caller, site.conversation.id)
        run_id = await site.process.regenerate(site.caller, question.id)
        await site.process.follow(site.caller, run_id)
    assert shown(list(site.chat.calls[-1].request.turns)) == [1]
    assert len(site.chat.calls) == 2


@pytest.mark.parametrize(
    ("parts", "more", "error"),
    [
        ((png(),), {"overrides": "scripted/blind"}, ImagesNotTaken),
        ((TextPart(text="x" * 5_000_000),), {}, ContextExceeded),
        ((TextPart(text="Hello"),), {"response_schema": "no word"}, FieldInvalid),
    ],
)
async def test_what_cannot_be_asked_leaves_nothing_behind(
    site: Site, parts: tuple[Part, ...], more: dict[str, str], error: type[Exception]
) -> None:
    given: dict[str, Any] = {**more, "request_id": "once"}
    if "overrides" in more:
        given["overrides"] = overrides(more["overrides"])
    async with site.process:
        for detached in (False, True):
            with pytest.raises(error):
                await site.send(*parts, detached=detached, **given)
        assert await stored_messages(site.storage, site.caller, site.conversation.id) == []
        # The request id was not used, and the conversation is free.
        await site.send(TextPart(text="Hello"), request_id="once", payload=b"another")
    assert len(site.chat.calls) == 1


async def test_a_schema_holds_for_a_run_that_begins_elsewhere(site: Site) -> None:
    async with site.process:
        run_id = await site.process.send(
            site.caller, site.conversation.id, "Hello", detached=True, response_schema="green"
        )
        fold = await site.process.follow(site.caller, run_id)
    assert (fold.end, fold.kinds.count("message_discarded"), fold.stored) == ("failed", 2, {})
    assert [said.role for said in await stored_messages(site.storage, site.caller, site.conversation.id)] == [Role.USER]
    assert site.process.schemas.owners == [site.caller.owner_id] * 3, "whose turn it is, is known at every check"
