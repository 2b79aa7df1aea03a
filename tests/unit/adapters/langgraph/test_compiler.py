"""What the core accepts LangGraph runs, each node once and after all nodes that lead to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.langgraph.compiler import InvalidGraph, cached_graph, compile_graph
from chatter_grpc.adapters.langgraph.state import RunContext
from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.graphs import (
    PLAIN,
    EdgeDefinition,
    GraphDefinition,
    ModelNode,
    NodeDefinition,
    NodeType,
    check_graph,
)
from chatter_grpc.core.models import ModelRequest, Role, Turn
from chatter_grpc.core.runs.events import NodeFinished, NodeStarted
from tests.support.asking import asking_of
from tests.support.attempts import Written, new_input, new_writer
from tests.support.catalogues import MODEL, Catalogue
from tests.support.waiting import run_alone

START = NodeDefinition(id="start", type=NodeType.START)
END = NodeDefinition(id="end", type=NodeType.END)
IDS = ["a", "b|c", "d:e", "__start__", "__end__", "turns"]


def model(id_: str, **settings: object) -> NodeDefinition:
    """Return a node that names itself in its system prompt."""
    config = ModelNode(settings=ModelSettings(system_prompt=id_, **settings))  # type: ignore[arg-type]
    return NodeDefinition(id=id_, type=NodeType.MODEL, config=config)


def graph(ids: list[str], edges: list[tuple[str, str]]) -> GraphDefinition:
    return GraphDefinition(
        nodes=(START, *map(model, ids), END),
        edges=tuple(EdgeDefinition(source=source, target=target) for source, target in edges),
    )


async def run(definition: GraphDefinition, chat: ScriptedChat, **others: ScriptedChat) -> Written:
    written = new_writer()
    context = RunContext(
        writer=written.writer,
        asking=asking_of(Catalogue({"model": chat, **others})),
        input=new_input(ModelSettings(model=MODEL, temperature=0.5)),
        owner_id="user_1",
    )
    await compile_graph(definition).ainvoke({"turns": [Turn(role=Role.USER, text="hi")]}, context=context)
    return written


def asked(chat: ScriptedChat) -> list[ModelRequest]:
    return [call.request for call in chat.calls]


async def test_a_node_is_given_what_the_node_before_it_said() -> None:
    definition = graph(["a", "b"], [("start", "a"), ("a", "b"), ("b", "end")])
    chat = ScriptedChat(answer_script("first"), answer_script("second"))
    written = await run(definition, chat)
    assert [request.system_prompt for request in asked(chat)] == ["a", "b"]
    assert [(turn.role, turn.text) for turn in asked(chat)[1].turns] == [(Role.USER, "hi"), (Role.ASSISTANT, "first")]
    assert [message.text for message in written.writer.messages] == ["first", "second"]
    nodes = [body for body in written.bodies() if isinstance(body, (NodeStarted, NodeFinished))]
    assert nodes == [NodeStarted("a", "model"), NodeFinished("a"), NodeStarted("b", "model"), NodeFinished("b")]


async def test_a_nodes_own_settings_go_before_those_of_the_run() -> None:
    own = model("a", model="scripted/other", max_tokens=7)
    definition = GraphDefinition(
        nodes=(START, own, END),
        edges=(EdgeDefinition(source="start", target="a"), EdgeDefinition(source="a", target="end")),
    )
    chat, other = ScriptedChat(answer_script("x")), ScriptedChat(answer_script("y"))
    written = await run(definition, chat, other=other)
    assert not chat.calls
    (request,) = asked(other)
    assert (request.model, request.max_tokens, request.temperature) == ("scripted/other", 7, 0.5)
    assert written.writer.messages[0].model == "scripted/other"


async def test_a_graph_without_nodes_between_does_nothing() -> None:
    chat = ScriptedChat(answer_script("x"))
    written = await run(graph([], [("start", "end")]), chat)
    assert not chat.calls
    assert not written.bodies()


def test_a_faulty_definition_is_not_compiled() -> None:
    with pytest.raises(InvalidGraph, match="node 'a' is in a loop"):
        compile_graph(graph(["a"], [("start", "a"), ("a", "a"), ("a", "end")]))


def test_equal_definitions_share_a_graph() -> None:
    definition = graph(["a"], [("start", "a"), ("a", "end")])
    again = graph(["a"], [("start", "a"), ("a", "end")])
    assert cached_graph(definition) is cached_graph(again)
    assert cached_graph(PLAIN) is not cached_graph(definition)


NODES = st.sampled_from(["start", "end", *IDS])


@given(st.lists(st.sampled_from(IDS), unique=True, max_size=4), st.lists(st.tuples(NODES, NODES), max_size=8))
def test_what_is_accepted_compiles(ids: list[str], edges: list[tuple[str, str]]) -> None:
    definition = graph(ids, edges)
    if check_graph(definition):
        with pytest.raises(InvalidGraph):
            compile_graph(definition)
    else:
        compile_graph(definition)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_every_node_runs_once_and_after_all_that_lead_to_it(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.sampled_from(IDS), unique=True, min_size=1))
    before = {
        id_: data.draw(st.lists(st.sampled_from(["start", *ids[:place]]), unique=True, min_size=1), label=id_)
        for place, id_ in enumerate(ids)
    }
    edges = [(source, id_) for id_, sources in before.items() for source in sources]
    edges += [(id_, "end") for id_ in ids if not any(source == id_ for source, _ in edges)]
    definition = graph(ids, edges)
    assert check_graph(definition) == ()
    chat = ScriptedChat(answer_script("x"))
    written = run_alone(run(definition, chat))
    assert sorted(request.system_prompt for request in asked(chat)) == sorted(ids)
    nodes = [body for body in written.bodies() if isinstance(body, (NodeStarted, NodeFinished))]
    for place, body in enumerate(nodes):
        if isinstance(body, NodeStarted):
            for source in set(before[body.node_id]) - {"start"}:
                assert NodeFinished(source) in nodes[:place]
