"""Nothing secret and nothing that is said is ever logged, whatever goes wrong (T7)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession
from google.protobuf.message_factory import GetMessageClass

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc._gen.chatter.v1.content_pb2 import ContentPart, ImagePart
from chatter_grpc._gen.chatter.v1.conversation_pb2 import ModelSettings
from chatter_grpc.core.pages import PageRequest
from tests.support.chats import raw_server
from tests.support.collector import Collector, collecting
from tests.support.databases import PostgresDatabases
from tests.support.images import PNG
from tests.support.openai_plans import Fault, Plan
from tests.support.outages import line_to
from tests.support.processes import run_command
from tests.support.provider import Provider, eventually, provider_on_a_thread
from tests.support.served import METHODS, Client, Served, administrator_of, message, served, written
from tests.support.spy import OPERATORS, USERS, Spy
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.platform("T7")

# The models of a provider that answers each of them rudely.
RUDE: Final = ["refuses", "breaks", "redirects", "babbles", "fails"]
# Those that are called through LangChain; the last has nobody to answer it.
HOSTED_RUDE: Final = [f"{name}/{each}" for name in ("anthropic", "mistral", "ollama") for each in RUDE]
HOSTED_ABSENT: Final = "aws/amazon.nova-lite-v1:0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server that shows all that it ever shows, with every secret planted."""

    server: Served
    line: TcpProxy
    provider: Provider
    collector: Collector

    async def metrics(self) -> str:
        """Return what Prometheus is told."""
        (event,) = self.server.logged("serving_metrics")
        async with ClientSession() as session, session.get(f"http://{event['address']}/metrics") as response:
            return await response.text()


async def answer_rudely(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a provider that repeats what it was asked, with which key, and more, in all parts of an answer."""
    sent = (await reader.read(65536)).decode(errors="replace")
    secret = OPERATORS["provider's error"]
    model = json.loads(sent[sent.index("{") :])["model"]
    message = f"{secret} {sent} {OPERATORS['provider key']}"
    error = json.dumps({"error": {"message": message, "type": secret, "code": secret}})
    bodies = {
        "refuses": ("400 Bad Request", error),
        "breaks": ("500 Internal Server Error", f"<html>{secret}</html>"),
        "redirects": (f"307 {secret}\r\nLocation: https://localhost/{secret}", ""),
        "babbles": ("200 OK\r\nContent-Type: text/event-stream", f"data: {secret}\n\n"),
        "fails": ("200 OK\r\nContent-Type: text/event-stream", f"data: {error}\n\n"),
    }
    status, body = bodies[model]
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode())
    with suppress(ConnectionError):
        await writer.drain()


def hosted_rudely(base_url: str) -> dict[str, str]:
    """The settings of providers that are called through LangChain and answer rudely."""
    aws = {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:9", "models": '["amazon.nova-lite-v1:0"]'}
    aws |= {"access_key_id": "AKIA", "secret_access_key": OPERATORS["access key's secret"]}
    common = {"base_url": base_url, "api_key": OPERATORS["provider key"], "models": json.dumps(RUDE)}
    hosted = {f"{name}_{key}": value for name in ("anthropic", "mistral", "ollama") for key, value in common.items()}
    return hosted | {f"aws_{key}": value for key, value in aws.items()}


@pytest.fixture
async def site(tmp_path: Path, postgres_databases: PostgresDatabases) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        # Of its own, since it is used under another secret.
        postgres_url = stack.enter_context(postgres_databases.fresh())
        provider = stack.enter_context(provider_on_a_thread(OPERATORS["provider key"]))
        line, url = stack.enter_context(line_to(postgres_url, password=OPERATORS["database password"]))
        collector = stack.enter_context(collecting())
        rude = await stack.enter_async_context(raw_server(answer_rudely))
        endpoints = {
            "rude": {"base_url": rude, "api_key": OPERATORS["provider key"], "models": RUDE},
            "locked": {"base_url": provider.base_url, "api_key": OPERATORS["wrong provider key"], "models": ["gpt"]},
            "absent": {"base_url": "http://127.0.0.1:9/v1", "api_key": OPERATORS["provider key"], "models": ["gpt"]},
        }
        server = stack.enter_context(
            served(
                tmp_path,
                database_url=url,
                database_seconds="2",
                redis_url=f"redis://:{OPERATORS['redis password']}@127.0.0.1:9",
                secret=OPERATORS["server secret"],
                openai_base_url=provider.base_url,
                openai_api_key=OPERATORS["provider key"],
                openai_models='["gpt"]',
                endpoints=json.dumps(endpoints),
                **hosted_rudely(rude),
                provider_attempts="1",
                provider_idle_seconds="60",
                log_level="debug",
                log_format="json",
                metrics_listen="0",
                otlp_endpoint=collector.endpoint,
            )
        )
        yield Site(server=server, line=line, provider=provider, collector=collector)


async def test_nothing_secret_is_logged_or_told(site: Site, tmp_path: Path) -> None:
    """T7: every RPC, with and without success, failures of providers and database, start and stop, at level debug."""
    async with site.server.connect() as anyone:
        spy = await sign_in(anyone)
        conversation_id = await fill(spy, site.provider)
        await call_everything_wrongly(spy, anyone)
        await let_providers_fail(spy, site.provider, conversation_id)
        await lose_the_database(spy, site, conversation_id)
        key = await site.server.api_key("planted", "chat:read")
        spy.issued.append(key)
        await spy.call("GetMe", client=anyone.trusting(key))
        await change_accounts(spy, site.server, anyone)
        await spy.call("LogoutEverywhere")
        await spy.call("Logout")
        await spy.call("GetMe")
    audited = await audit_of(site.server)
    assert spy.called == METHODS.keys()
    metrics = await site.metrics()
    assert site.server.process.stop() == 0
    site.line.refuse()
    output = site.server.output + start_without_a_database(site.server, tmp_path) + metrics + site.collector.text
    output += audited
    for secret in (*OPERATORS.values(), *USERS.values(), *spy.issued):
        assert secret not in output
    passwords = [USERS[name] for name in ("password", "wrong password", "new password")]
    for secret in (*OPERATORS.values(), *passwords, *spy.issued):
        assert not [told for told in spy.told if secret in told]
    # All of that was logged, counted and traced, by name.
    assert {event["method"].rpartition("/")[2] for event in site.server.logged("request")} == METHODS.keys()
    assert {span.name.rpartition("/")[2] for span in site.collector.spans} >= METHODS.keys()
    assert not [name for name in METHODS if f'/{name}"' not in metrics]
    assert site.server.logged("redis_lost")
    levels = {json.loads(line)["level"] for line in site.server.process.err.read_text().splitlines()}
    assert levels >= {"debug", "info", "warning"}


async def sign_in(anyone: Client) -> Spy:
    """Make an account and a session, after failing to."""
    spy = Spy(client=anyone)
    account: dict[str, Any] = {"username": "planted", "email": USERS["email"], "display_name": USERS["display name"]}
    assert (await spy.call("Register", **account, password="short")).reason == "FIELD_INVALID"
    assert (await spy.call("Register", **account, password=USERS["password"])).reason == ""
    assert (await spy.call("Register", **account, password=USERS["password"])).reason == "USERNAME_TAKEN"
    wrong = await spy.call("Login", login=USERS["email"], password=USERS["wrong password"])
    assert wrong.reason == "LOGIN_FAILED"
    tokens = (await anyone.ok("Login", login=USERS["email"], password=USERS["password"])).tokens
    newer = (await anyone.ok("Refresh", refresh_token=tokens.refresh_token)).tokens
    stolen = (await anyone.ok("Login", login=USERS["email"], password=USERS["password"])).tokens
    once = (await anyone.ok("Refresh", refresh_token=stolen.refresh_token)).tokens
    twice = (await anyone.ok("Refresh", refresh_token=once.refresh_token)).tokens
    assert (await spy.call("Refresh", refresh_token=stolen.refresh_token)).reason == "REFRESH_TOKEN_REUSED"
    assert (await spy.call("Refresh", refresh_token=USERS["token"])).reason == "TOKEN_INVALID"
    for pair in (tokens, newer, stolen, once, twice):
        spy.issued += [pair.access_token, pair.refresh_token]
    spy.client = anyone.trusting(newer.access_token)
    return spy


async def change_accounts(spy: Spy, server: Served, anyone: Client) -> None:
    """Change passwords, keys and accounts, and fail to."""
    mine = {"display_name": USERS["display name"], "email": f"new-{USERS['email']}"}
    root = await administrator_of(server, anyone)
    me = (await spy.client.ok("GetMe")).user
    wrong: dict[str, Any] = {"current_password": USERS["wrong password"], "new_password": USERS["new password"]}
    assert (await spy.call("ChangePassword", **wrong)).reason == "PASSWORD_WRONG"
    assert (await spy.call("ChangePassword", **{**wrong, "current_password": USERS["password"]})).reason == ""
    issued = await spy.client.ok("CreateApiKey", name="planted", scopes=["chat:read"])
    spy.issued.append(issued.secret)
    assert (await spy.call("CreateApiKey", client=root, name="planted", scopes=["act_as"])).reason == "FIELD_INVALID"
    for paths, reason in ((["display_name", "email"], ""), (["role"], "FIELD_INVALID")):
        given: dict[str, Any] = {"user": mine, "update_mask": {"paths": paths}}
        assert (await spy.call("UpdateMe", **given)).reason == reason
    given = {"user": {"email": mine["email"]}, "update_mask": {"paths": ["email"]}}
    assert (await spy.call("UpdateMe", client=root, **given)).reason == "EMAIL_TAKEN"
    given = {"user": {"id": me.id, **mine}, "update_mask": {"paths": ["limits"]}}
    for client, expected in ((root, ""), (spy.client, "SCOPE_MISSING")):
        assert (await spy.call("GetUser", client=client, user_id=me.id)).reason == expected
        assert (await spy.call("ListUsers", client=client, text=USERS["display name"])).reason == expected
        assert (await spy.call("UpdateUser", client=client, **given)).reason == expected
    await spy.call("ListApiKeys")
    await spy.call("RevokeApiKey", api_key_id=issued.api_key.id)
    assert (await spy.call("GetMe", client=anyone.trusting(issued.secret))).reason == "API_KEY_INVALID"


async def audit_of(server: Served) -> str:
    """All of the audit log."""
    async with server.accounts() as accounts:
        rows = (await accounts.audit_log("", PageRequest(size=1000))).items
    methods = {row.method.rpartition("/")[2] for row in rows}
    assert methods >= {"Register", "Login", "Refresh", "ChangePassword", "CreateApiKey", "UpdateMe", "DeleteMessage"}
    return str(rows)


async def fill(spy: Spy, provider: Provider) -> str:
    """Use every RPC as it is meant, with something planted wherever a user may write."""
    words = {"title": USERS["title"], "description": USERS["description"]}
    metadata = {USERS["metadata key"]: USERS["metadata value"]}
    conversation = await spy.client.conversation(
        **words, metadata=metadata, model_settings=ModelSettings(system_prompt=USERS["system prompt"])
    )
    provider.plan(Plan(text=USERS["answer"], reasoning=(USERS["reasoning"],)))
    stream = await spy.converse(conversation.id)
    assert (stream.fold.end, stream.text) == ("completed", USERS["answer"])
    held = provider.hold(after=1, text=f"{USERS['answer']} {USERS['answer']}")
    sent = await spy.client.send(conversation.id, USERS["prompt"]).until(written(1))
    busy = await spy.call("SendMessage", **message(conversation.id, USERS["prompt"]))
    assert busy.reason == "CONVERSATION_BUSY"
    await spy.call("CancelRun", run_id=sent.run_id)
    held.open()
    await sent.to_end()
    await answer_again_and_later(spy, provider, conversation.id)
    await ask_with_images_and_schemas(spy, provider, conversation.id)
    update: dict[str, Any] = {
        "conversation": {"id": conversation.id, **words},
        "update_mask": {"paths": [*words, "metadata"]},
    }
    await spy.call("UpdateConversation", **update)
    await spy.call("UpdateConversation", **{**update, "update_mask": {"paths": ["owner_id"]}})
    page = await spy.client.ok("ListConversations", text=USERS["title"], order=3, page_size=1)
    (message_id,) = stream.fold.stored
    for name, given in (
        ("GetConversation", {"conversation_id": conversation.id}),
        ("ListConversations", {"text": USERS["title"], "page_token": page.next_page_token or "planted"}),
        ("SearchConversations", {"query": USERS["title"]}),
        ("SearchMessages", {"query": USERS["prompt"]}),
        ("RateMessage", {"message_id": message_id, "rating": 1, "comment": USERS["comment"]}),
        ("ForkConversation", {"message_id": message_id, "title": USERS["title"]}),
        ("ListMessages", {"conversation_id": conversation.id}),
        ("GetMessage", {"message_id": message_id}),
        ("GetRun", {"run_id": stream.run_id}),
        ("ListRuns", {"conversation_id": conversation.id}),
        ("WatchRun", {"run_id": stream.run_id}),
        ("ListRunEvents", {"run_id": stream.run_id}),
        ("GetServerInfo", {}),
        ("GetMe", {}),
    ):
        await spy.call(name, **given)
    again = await spy.client.conversation(**words)
    await spy.call("DeleteConversation", conversation_id=again.id)
    await spy.call("UndeleteConversation", conversation_id=again.id)
    await spy.call("DeleteMessage", message_id=message_id)
    return str(conversation.id)


async def answer_again_and_later(spy: Spy, provider: Provider, conversation_id: str) -> None:
    """Have the last message answered again, and one that nobody waits for."""
    provider.plan(*(Plan(text=USERS["answer"]) for _ in range(2)))
    question = (await spy.client.messages(conversation_id))[-1]
    again = {"request_id": "planted-again", "message_id": question.id}
    assert (await spy.call("RegenerateMessage", **again)).reason == ""
    created = await spy.client.ok("CreateRun", **message(conversation_id, USERS["prompt"]))
    spy.called.add("CreateRun")

    async def has_ended() -> bool:
        return bool((await spy.client.run(created.run.id)).state == run_pb2.RUN_STATE_COMPLETED)

    await eventually(has_ended)


async def ask_with_images_and_schemas(spy: Spy, provider: Provider, conversation_id: str) -> None:
    """Send an image that no model takes, a schema that is none, and one that no answer keeps."""
    image = ImagePart(media_type="image/png", data=PNG + USERS["image"].encode())
    wrong = json.dumps({"$ref": USERS["schema"], "type": USERS["schema"]})
    for reason, given in (
        ("IMAGES_NOT_TAKEN", {"parts": [ContentPart(image=image)]}),
        ("FIELD_INVALID", {"response_schema": wrong}),
        ("FIELD_INVALID", {"response_schema": json.dumps({"$ref": USERS["schema"]})}),
        ("FIELD_INVALID", {"response_schema": USERS["schema"]}),
    ):
        asked = {**message(conversation_id, USERS["prompt"]), **given}
        assert (await spy.call("SendMessage", **asked)).reason == reason
    provider.plan(*(Plan(text=USERS["answer"]) for _ in range(2)))
    stream = spy.client.send(conversation_id, USERS["prompt"], response_schema=json.dumps({"const": USERS["schema"]}))
    spy.note("SendMessage", await stream.to_end())
    assert stream.fold.last is not None
    assert stream.fold.kinds.count("message_discarded") == 2
    spy.told.append(stream.fold.last.failed.message)


async def call_everything_wrongly(spy: Spy, anyone: Client) -> None:
    """Call every method with what it does not take."""
    for name, (_, method) in METHODS.items():
        if name in {"Logout", "LogoutEverywhere"}:
            continue
        request = planted(GetMessageClass(method.input_type)())
        await spy.call(name, request)
        await spy.call(name, request, client=anyone.trusting(USERS["token"]))
        await spy.call(name, request, client=anyone.trusting(f"chk_{USERS['token']}"))
        await spy.call(name, "".join(USERS.values()).encode())
        await spy.call(name, b"\x0a\x0e" + USERS["prompt"].encode() + b"\xc3\x28")


def planted(request: Any) -> Any:
    """A request in which every redacted field holds a secret, and too long a one."""
    for each in request.DESCRIPTOR.fields:
        inner = each.message_type
        if inner is not None and inner.GetOptions().map_entry:
            getattr(request, each.name)[USERS["metadata key"]] = USERS["metadata value"] * 1000
        elif inner is not None and inner.full_name.startswith("chatter."):
            planted(getattr(request, each.name).add() if each.is_repeated else getattr(request, each.name))
        elif each.GetOptions().debug_redact:
            text = USERS["prompt"] * 20_000
            setattr(request, each.name, text.encode() if each.type == each.TYPE_BYTES else text)
    return request


async def let_providers_fail(spy: Spy, provider: Provider, conversation_id: str) -> None:
    """Send a message to every provider that fails in some way."""
    plans = [Plan(status=status, retry_after="0") for status in (400, 401, 404, 429, 500)]
    # Those that end by themselves; silence is no different to the log.
    broken = (Fault.CUT, Fault.END, Fault.GARBAGE, Fault.ERROR, Fault.UNFRAMED)
    for plan in (*plans, *(Plan(text=f"{USERS['answer']} more", fault=fault, after=1) for fault in broken)):
        provider.plan(plan)
        assert (await spy.converse(conversation_id)).fold.end == "failed", plan
    for model in ("locked/gpt", "absent/gpt", *(f"rude/{each}" for each in RUDE), *HOSTED_RUDE, HOSTED_ABSENT):
        assert (await spy.converse(conversation_id, model)).fold.end == "failed", model
    # The stand-in has seen the wrong key, which is what was to be seen.
    assert set(provider.standin.refused) == {"the key is wrong"}


async def lose_the_database(spy: Spy, site: Site, conversation_id: str) -> None:
    """Cut the line to the database while a run is at work and calls come in, and mend it."""
    gate = site.provider.hold(after=1, text=f"{USERS['answer']} {USERS['answer']} {USERS['answer']}")
    stream = await spy.client.send(conversation_id, USERS["prompt"]).until(written(1))
    site.line.refuse()
    gate.open()
    login: dict[str, Any] = {"login": USERS["email"], "password": USERS["password"]}
    assert (await spy.call("Login", **login)).reason == "STORAGE_UNAVAILABLE"
    assert (await spy.call("GetConversation", conversation_id=conversation_id)).reason == "STORAGE_UNAVAILABLE"
    assert (await spy.call("CreateConversation", title=USERS["title"])).reason == "STORAGE_UNAVAILABLE"
    site.line.mend()

    async def is_back() -> bool:
        return (await spy.call("GetConversation", conversation_id=conversation_id)).reason == ""

    await eventually(is_back)
    assert spy.note("SendMessage", await stream.to_end()).reason == ""


def start_without_a_database(server: Served, directory: Path) -> str:
    """What a server with the same settings says that finds no database."""
    done = run_command(directory, "serve", "--listen", "127.0.0.1:0", **server.settings)
    assert done.returncode == 1, done.stderr
    return done.stdout + done.stderr
