"""What images and schemas in requests do."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc._gen.chatter.v1 import content_pb2, run_pb2
from tests.acceptance.platform.effects.site import Effect, Site
from tests.support.images import IMAGES, PNG
from tests.support.openai_plans import Plan
from tests.support.provider import eventually
from tests.support.served import message

SCHEMA: Final = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
GREEN, BLUE = '{"colour": "green"}', '{"colour": "blue"}'
# The provider of this one does not keep answers to a schema.
IN_WORDS: Final = {"model": "openai/other"}


def an_image(**fields: Any) -> content_pb2.ContentPart:
    """A part that is an image, a PNG unless the fields say otherwise."""
    return content_pb2.ContentPart(image=content_pb2.ImagePart(**{"media_type": "image/png", "data": PNG, **fields}))


async def ends(site: Site, run_id: str) -> Any:
    """Return a run once it has ended."""

    async def has_ended() -> bool:
        return bool((await site.client.run(run_id)).state not in (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING))

    await eventually(has_ended)
    return await site.client.run(run_id)


async def send(site: Site, conversation_id: str, **fields: Any) -> Any:
    """Send a message and return its run, ended."""
    return await site.client.run((await site.client.ask(conversation_id, "Hello", **fields)).run_id)


async def create_run(site: Site, conversation_id: str, **fields: Any) -> Any:
    """Create a detached run and return it, ended."""
    made = await site.client.ok("CreateRun", **message(conversation_id, "Hello", **fields))
    return await ends(site, made.run.id)


async def regenerate(site: Site, conversation_id: str, **fields: Any) -> Any:
    """Have a message answered again and return the run, ended."""
    stream = await site.client.ask(conversation_id, "Hello")
    (question, *_) = await site.client.messages(conversation_id)
    site.provider.standin.calls.clear()
    again = site.client.open("RegenerateMessage", request_id=stream.run_id[-30:], message_id=question.id, **fields)
    assert (await again.to_end()).reason == ""
    return await site.client.run(again.run_id)


STARTS: Final = {"SendMessage": send, "CreateRun": create_run, "RegenerateMessage": regenerate}


def is_shown(method: str) -> Effect:
    """Each type of image reaches the provider as it is, and is read again as it was sent."""

    async def effect(site: Site) -> None:
        for media_type, data in IMAGES.items():
            conversation_id = (await site.client.conversation()).id
            part = an_image(media_type=media_type, data=data)
            await STARTS[method](site, conversation_id, parts=[part])
            url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
            body = site.provider.calls[-1].body
            assert body["messages"][-1]["content"] == [{"type": "image_url", "image_url": {"url": url}}]
            listed, _ = await site.client.messages(conversation_id)
            known = {"media_type": media_type, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            assert list(listed.parts) == [an_image(**known, data=b"")]
            stored = (await site.client.ok("GetMessage", message_id=listed.id)).message
            assert list(stored.parts) == [an_image(**known, data=data)]

    return effect


def is_held_to(method: str, field: str) -> Effect:
    """What is said of an image has to be so; where it is not, nothing is stored."""
    values: dict[str, tuple[Any, list[Any]]] = {
        "media_type": ("image/png", ["image/gif", "image/tiff", "", "IMAGE/PNG"]),
        "size_bytes": (len(PNG), [len(PNG) + 1, -1]),
        "sha256": (hashlib.sha256(PNG).hexdigest(), [hashlib.sha256(b"").hexdigest(), "ab", "x" * 64]),
    }
    true, false = values[field]

    async def effect(site: Site) -> None:
        conversation_id = (await site.client.conversation()).id
        for value in false:
            asked = message(conversation_id, "", parts=[an_image(**{field: value})])
            assert await site.client.reason(method, **asked) == "FIELD_INVALID", value
        assert await site.client.messages(conversation_id) == []
        await STARTS[method](site, conversation_id, parts=[an_image(**{field: true})])
        assert len(await site.client.messages(conversation_id)) == 2

    return effect


def shapes_the_answer(method: str) -> Effect:
    """A schema reaches the provider, or the model in words, and what does not keep it is no answer."""

    async def effect(site: Site) -> None:
        schema = json.dumps(SCHEMA)
        site.provider.plan(*([Plan(text="")] if method == "RegenerateMessage" else []), Plan(text=GREEN))
        run = await STARTS[method](site, (await site.client.conversation()).id, response_schema=schema)
        assert run.state == run_pb2.RUN_STATE_COMPLETED
        asked = {"name": "answer", "schema": SCHEMA, "strict": True}
        assert site.provider.calls[-1].body["response_format"] == {"type": "json_schema", "json_schema": asked}

        site.provider.plan(
            *([Plan(text="")] if method == "RegenerateMessage" else []), Plan(text=BLUE), Plan(text=BLUE)
        )
        conversation_id = (await site.client.conversation()).id
        run = await STARTS[method](site, conversation_id, response_schema=schema, overrides=IN_WORDS)
        assert run.failure.reason == 82, run
        first = site.provider.calls[-2].body
        assert "response_format" not in first
        assert first["messages"][0]["role"] == "system"
        assert schema in first["messages"][0]["content"]
        assert BLUE not in [
            part.text.text for each in await site.client.messages(conversation_id) for part in each.parts
        ]

    return effect


def starts_with_images(method: str) -> dict[str, Effect]:
    """The fields of images in a request."""
    fields = ("media_type", "size_bytes", "sha256")
    return {
        f"{method}.parts.image.data": is_shown(method),
        **{f"{method}.parts.image.{field}": is_held_to(method, field) for field in fields},
    }


EFFECTS: Final[Mapping[str, Effect]] = {
    **starts_with_images("SendMessage"),
    **starts_with_images("CreateRun"),
    **{f"{method}.response_schema": shapes_the_answer(method) for method in STARTS},
}
