"""Workflows of several steps, for tests: a node asks the model that has its name, and says its name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chatter_grpc.adapters.models.scripted import ScriptedChat, answer_script
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.graphs import EdgeDefinition, GraphDefinition, ModelNode, NodeDefinition, NodeType
from chatter_grpc.core.runs.run import WorkflowKind
from tests.support.catalogues import Catalogue


def graph_of(edges: Iterable[tuple[str, str]]) -> GraphDefinition:
    """Return the graph of these edges between the nodes that they name; ``start`` and ``end`` are what they say."""
    pairs = list(edges)
    ids = dict.fromkeys(id_ for pair in pairs for id_ in pair if id_ not in ("start", "end"))
    return GraphDefinition(
        nodes=(
            NodeDefinition(id="start", type=NodeType.START),
            *map(_model, ids),
            NodeDefinition(id="end", type=NodeType.END),
        ),
        edges=tuple(EdgeDefinition(source=source, target=target) for source, target in pairs),
    )


def _model(id_: str) -> NodeDefinition:
    config = ModelNode(settings=ModelSettings(model=f"scripted/{id_}"))
    return NodeDefinition(id=id_, type=NodeType.MODEL, config=config)


# Two branches that meet.
FORK = graph_of([("start", "left"), ("start", "right"), ("left", "both"), ("right", "both"), ("both", "end")])


@dataclass(slots=True)
class Steps:
    """A graph in place of the built-in one, and a model for each of its nodes, unless ``chats`` has another."""

    definition: GraphDefinition
    chats: dict[str, ScriptedChat] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chats = dict(self.chats)
        for id_ in self.ids:
            self.chats.setdefault(id_, ScriptedChat(answer_script(self.text_of(id_))))

    @property
    def ids(self) -> list[str]:
        """The ids of the nodes that ask a model."""
        return [node.id for node in self.definition.nodes if node.config is not None]

    @property
    def graphs(self) -> Mapping[WorkflowKind, GraphDefinition]:
        """What a process is given to serve."""
        return {WorkflowKind.PLAIN: self.definition}

    @property
    def models(self) -> Catalogue:
        """The models of the nodes."""
        return Catalogue(self.chats)

    @property
    def calls(self) -> dict[str, int]:
        """How often each node has asked."""
        return {id_: len(self.chats[id_].calls) for id_ in self.ids}

    def before(self, id_: str) -> set[str]:
        """The nodes that lead to a node."""
        return {edge.source for edge in self.definition.edges if edge.target == id_} - {"start"}

    @staticmethod
    def text_of(id_: str) -> str:
        """What a node says."""
        return f"this is {id_}"
