"""The engine: it runs a run's workflow, and leaves nothing running when it fails or is cancelled."""

import asyncio
from typing import NoReturn

import pytest

from chatter_grpc.adapters.langgraph.compiler import compile_graph
from chatter_grpc.adapters.langgraph.engine import LangGraphEngine
from chatter_grpc.adapters.langgraph.state import RunContext
from chatter_grpc.adapters.models.scripted import CallState, Gate, ScriptedChat, answer_script
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import ModelUnknown, ProviderTimeout, WorkflowNotFound
from chatter_grpc.core.graphs import EdgeDefinition, GraphDefinition, ModelNode, NodeDefinition, NodeType
from chatter_grpc.core.models import Finished, FinishReason, Role, TextPiece, Turn
from chatter_grpc.core.runs.committer import CommitSettings, GroupCommitter
from chatter_grpc.core.runs.events import MessageDiscarded, MessageFinished, NodeFinished
from chatter_grpc.core.runs.saving import Checkpointing
from tests.support.asking import asking_of
from tests.support.attempts import new_input, new_work, new_writer
from tests.support.catalogues import MODEL, Catalogue
from tests.support.run_logs import MemoryLog
from tests.support.waiting import soon, until

TURNS = (Turn(role=Role.USER, text="hi"),)


def node(id_: str, name: str) -> NodeDefinition:
    config = ModelNode(settings=ModelSettings(model=f"scripted/{name}"))
    return NodeDefinition(id=id_, type=NodeType.MODEL, config=config)


PARALLEL = GraphDefinition(
    nodes=(
        NodeDefinition(id="start", type=NodeType.START),
        node("left", "left"),
        node("right", "right"),
        NodeDefinition(id="end", type=NodeType.END),
    ),
    edges=tuple(
        EdgeDefinition(source=source, target=target)
        for source, target in [("start", "left"), ("start", "right"), ("left", "end"), ("right", "end")]
    ),
)


class NoStorage:
    """The database of a graph of one step, which has nothing to look for in it."""

    def read(self) -> NoReturn:
        raise AssertionError("a transaction")

    def write(self, *, urgent: bool = False) -> NoReturn:
        raise AssertionError("a transaction")

    ping = read


def engine_of(models: Catalogue) -> LangGraphEngine:
    committer = GroupCommitter(MemoryLog(), lambda run_ids: None, CommitSettings())
    return LangGraphEngine(asking_of(models), Checkpointing(NoStorage(), committer))


async def test_plain_asks_the_model_once_with_all_turns_and_settings() -> None:
    chat, written = ScriptedChat(answer_script("Hello there")), new_writer()
    settings = ModelSettings(model=MODEL, temperature=0.25, max_tokens=9, system_prompt="be brief")
    await engine_of(Catalogue({"model": chat})).execute(new_work(settings, TURNS), written.writer)
    (call,) = chat.calls
    assert (call.request.model, list(call.request.turns)) == (MODEL, list(TURNS))
    assert (call.request.temperature, call.request.max_tokens) == (0.25, 9)
    assert call.request.system_prompt == "be brief"
    assert [message.text for message in written.writer.messages] == ["Hello there"]
    assert isinstance(written.bodies()[-1], NodeFinished)


async def test_a_workflow_that_is_not_built_in_is_not_found() -> None:
    engine = engine_of(Catalogue({"model": ScriptedChat(answer_script("x"))}))
    with pytest.raises(WorkflowNotFound):
        await engine.execute(new_work(ModelSettings(), TURNS, kind=None), new_writer().writer)


async def test_a_model_that_is_gone_when_the_run_begins_is_a_typed_failure() -> None:
    engine, written = engine_of(Catalogue({"model": ScriptedChat(answer_script("x"))})), new_writer()
    with pytest.raises(ModelUnknown):
        await engine.execute(new_work(ModelSettings(model="gone/model"), TURNS), written.writer)
    assert not written.writer.messages


async def test_a_failure_is_the_providers_own_and_the_node_does_not_finish() -> None:
    error = ProviderTimeout(provider="scripted", phase="idle")
    engine, written = engine_of(Catalogue({"model": ScriptedChat([TextPiece("x"), error])})), new_writer()
    with pytest.raises(ProviderTimeout):
        await engine.execute(new_work(ModelSettings(model=MODEL), TURNS), written.writer)
    bodies = written.bodies()
    assert isinstance(bodies[-1], MessageDiscarded)
    assert not any(isinstance(body, NodeFinished) for body in bodies)


async def test_a_cancellation_closes_the_model_before_it_is_raised_on() -> None:
    chat = ScriptedChat([TextPiece("x"), Gate(asyncio.Event()), Finished(FinishReason.STOP)])
    written = new_writer()
    work = new_work(ModelSettings(model=MODEL), TURNS)
    task = asyncio.create_task(engine_of(Catalogue({"model": chat})).execute(work, written.writer))
    await until(lambda: bool(chat.calls and chat.calls[0].delivered))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert chat.calls[0].state is CallState.CLOSED
    assert [message.finish_reason for message in written.writer.messages] == [FinishReason.CANCELLED]


@pytest.mark.parametrize("fails", [True, False], ids=["one node fails", "cancelled"])
async def test_no_parallel_node_is_left_running(fails: bool) -> None:
    gate = asyncio.Event()
    error = ProviderTimeout(provider="scripted", phase="idle")
    left = ScriptedChat([TextPiece("x"), Gate(gate), error])
    right = ScriptedChat([TextPiece("y"), Gate(asyncio.Event()), Finished(FinishReason.STOP)])
    written = new_writer()
    asking = asking_of(Catalogue({"left": left, "right": right}))
    context = RunContext(writer=written.writer, asking=asking, input=new_input(ModelSettings()), owner_id="user_1")
    task = asyncio.create_task(compile_graph(PARALLEL).ainvoke({"turns": list(TURNS)}, context=context))
    await until(lambda: all(chat.calls and chat.calls[0].delivered for chat in (left, right)))
    if fails:
        gate.set()
        with pytest.raises(ProviderTimeout):
            await soon(task)
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert right.calls[0].state is CallState.CLOSED
    assert left.calls[0].state is (CallState.FAILED if fails else CallState.CLOSED)
    finished = [body.finish_reason for body in written.bodies() if isinstance(body, MessageFinished)]
    assert finished == [FinishReason.CANCELLED] * (1 if fails else 2)
    assert asyncio.all_tasks() == {asyncio.current_task()}
