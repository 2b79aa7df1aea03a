"""A scripted model for tests, which says and fails what its script says and remembers what was asked."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from chatter_grpc.core.errors import (
    ChatterError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
)
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    TokenCount,
)

ProviderError = ProviderUnavailable | ProviderRateLimited | ProviderRefused | ProviderTimeout | ProviderStreamBroken


@dataclass(frozen=True, slots=True)
class Pause:
    """The model takes its time, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """The model waits until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Together:
    """Deltas that come off the wire in one batch; any others come in a batch of their own."""

    deltas: tuple[ModelDelta, ...]


Step = ModelDelta | Together | Pause | Gate | ProviderError
Script = Sequence[Step]


class CallState(StrEnum):
    """How far a call of the scripted model got."""

    OPEN = "open"
    FINISHED = "finished"
    FAILED = "failed"
    CLOSED = "closed"
    """Ended by the caller, by ``aclose()`` or cancellation, before the script was over."""


@dataclass(slots=True)
class ScriptedCall:
    """One call: what was asked, what was delivered, and how it ended."""

    request: ModelRequest
    delivered: list[ModelDelta] = field(default_factory=list)
    state: CallState = CallState.OPEN


def answer_script(text: str, *, input_tokens: int = 1, reason: FinishReason = FinishReason.STOP) -> Script:
    """Return a script that says a text word by word, counts a token for each, and finishes."""
    pieces = [piece for piece in text.replace(" ", " \0").split("\0") if piece]
    said = [TextPiece(piece) for piece in pieces]
    return (*said, TokenCount(input_tokens, len(pieces)), Finished(reason))


class ScriptedChat:
    """Implements ``ChatModel`` from scripts: the first call plays the first, and so on; the last is played again.

    A script keeps the port's promises, or the constructor raises ``ValueError``: it ends in ``Finished``, in a
    ``TokenCount`` after it, or in an error, and says nothing in between that the port forbids. ``calls`` are in the
    order in which they began.
    """

    def __init__(self, *scripts: Script, provider: str = "scripted", gate_seconds: float = 30.0) -> None:
        """Take one script or more, and how long a gate may stay shut before the call fails as idle."""
        if not scripts:
            raise ValueError("a scripted model needs a script")
        for script in scripts:
            _check(script)
        self._scripts: Final = scripts
        self._provider = provider
        self._gate_seconds = gate_seconds
        self._called = asyncio.Condition()
        self.calls: list[ScriptedCall] = []

    @property
    def provider(self) -> str:
        """The name given, ``scripted`` by default."""
        return self._provider

    async def wait_for_calls(self, number: int, *, seconds: float = 10.0) -> None:
        """Return once the model was called so many times; raises ``TimeoutError``."""
        async with asyncio.timeout(seconds), self._called:
            await self._called.wait_for(lambda: len(self.calls) >= number)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        """Play the next script; see ``ChatModel.stream``."""
        script = self._scripts[min(len(self.calls), len(self._scripts) - 1)]
        call = ScriptedCall(request)
        self.calls.append(call)
        try:
            async with self._called:
                self._called.notify_all()
            for step in script:
                batch = await self._play(step)
                if batch:
                    call.delivered += batch
                    yield batch
            call.state = CallState.FINISHED
        except ChatterError:
            call.state = CallState.FAILED
            raise
        finally:
            if call.state is CallState.OPEN:
                call.state = CallState.CLOSED

    async def _play(self, step: Step) -> tuple[ModelDelta, ...]:
        """Return the deltas of a step, or do what else it says."""
        match step:
            case Together(deltas=deltas):
                return deltas
            case TextPiece() | ReasoningPiece() | TokenCount() | Finished():
                return (step,)
            case Pause(seconds=seconds):
                await asyncio.sleep(seconds)
            case Gate(event=event):
                await self._pass(event)
            case _:
                raise step
        return ()

    async def _pass(self, gate: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._gate_seconds):
                await gate.wait()
        except TimeoutError:
            raise ProviderTimeout(provider=self._provider, phase="idle") from None


def _check(script: Script) -> None:
    finished = failed = False
    for delta in _flat(script):
        if failed:
            raise ValueError("a script ends with its error")
        if isinstance(delta, ProviderError):
            failed = True
        elif isinstance(delta, Finished):
            if finished:
                raise ValueError("a script finishes once")
            finished = True
        elif isinstance(delta, (TextPiece, ReasoningPiece)):
            if finished:
                raise ValueError("a script has no text after its end")
            if not delta.text or any("\ud800" <= char <= "\udfff" for char in delta.text):
                raise ValueError("a piece is neither empty nor half a character")
    if finished == failed:
        raise ValueError("a script ends in Finished or in an error, and not in both")


def _flat(script: Script) -> Iterable[ModelDelta | ProviderError]:
    for step in script:
        if isinstance(step, Together):
            if not step.deltas:
                raise ValueError("no batch is empty")
            yield from step.deltas
        elif not isinstance(step, (Pause, Gate)):
            yield step
