"""What a stand-in does with a request: the answer it gives and the fault that it injects."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from urllib.parse import parse_qsl

import msgspec


class Fault(StrEnum):
    """What goes wrong in an answer, after ``Plan.after`` of its content deltas were sent."""

    CUT = "cut"
    """The connection is closed in the middle of the body."""
    END = "end"
    """The body ends in good order, but before the answer does: no finish reason, no ``[DONE]``."""
    STALL = "stall"
    """Nothing more is sent until the client leaves."""
    CHATTER = "comments"
    """Nothing but comments is sent until the client leaves."""
    GARBAGE = "garbage"
    """An event that is not JSON."""
    ERROR = "error"
    """An error object in place of a chunk, as OpenAI sends it when a model fails."""
    UNFRAMED = "unframed"
    """Bytes that break the chunked encoding of the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one request is answered. The default: ``You said: `` and the user's last message, a word at a time."""

    text: str | None = None
    """The answer; ``None`` repeats what the user said."""
    tokens: int | None = None
    """An answer of so many words instead: ``w0 w1 w2 ...``."""
    pieces: tuple[str, ...] | None = None
    """The exact content deltas instead; each may hold half a surrogate pair."""
    reasoning: tuple[str, ...] = ()
    """Reasoning deltas sent before the content."""
    reasoning_field: str = "reasoning_content"
    """The field that reasoning deltas are sent in."""
    tool_call: bool = False
    """A call of a tool that nobody offered is sent before the content."""
    refusal: bool = False
    """The content is sent as a refusal."""
    status: int = 200
    """Another status than 200 answers with an error object and no stream."""
    retry_after: str | None = None
    """The ``Retry-After`` header of an error."""
    error_code: str = "stand_in_error"
    """The ``code`` in an error object."""
    mute: bool = False
    """The request is taken and never answered, not even with headers."""
    first_delay: float = 0.0
    """Seconds before the first delta."""
    delay: float = 0.0
    """Seconds before each further content delta."""
    fault: Fault | None = None
    after: int = 0
    """How many content deltas are sent before the fault."""
    gates: Mapping[int, asyncio.Event] = field(default_factory=dict)
    """After so many content deltas, waits for the event; only in the test's own process."""
    finish_reason: str | None = "stop"
    """``None`` sends none. An answer that ``max_tokens`` cuts off says ``length``."""
    unlimited: bool = False
    """``max_tokens`` is not minded."""
    done: bool = True
    """Whether ``[DONE]`` is sent."""
    usage: bool = True
    """Whether the usage is sent where it is asked for."""
    linger: bool = False
    """After all was sent, the body does not end until the client leaves."""
    crlf: bool = False
    """Lines end in CRLF."""
    comments: bool = False
    """Comments stand between the events."""
    byte_by_byte: bool = False
    """Each byte is sent by itself."""

    @classmethod
    def named(cls, model: str) -> "Plan":
        """Read a plan out of a model's name: ``any-name?status=429&retry_after=0``, ``gpt?fault=cut&after=3``.

        Fields are those above but for ``gates``; a flag is ``1`` or ``0``, pieces are separated by ``|``. A name
        without ``?`` is the default. Raises ``ValueError``.
        """
        query = model.partition("?")[2]
        given: dict[str, object] = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
        unknown = given.keys() - _NAMES
        if unknown:
            raise ValueError(f"a plan has no {sorted(unknown)} that a name could hold")
        for name in ("pieces", "reasoning"):
            if name in given:
                given[name] = str(given[name]).split("|")
        return msgspec.convert(given, cls, strict=False)

    def content(self, user_said: str) -> list[str]:
        """Return the content deltas of the answer."""
        if self.pieces is not None:
            return list(self.pieces)
        if self.tokens is not None:
            text = " ".join(f"w{number}" for number in range(self.tokens))
        else:
            text = f"You said: {user_said}" if self.text is None else self.text
        return [piece for piece in text.replace(" ", "\0 ").split("\0") if piece]


_NAMES = {each.name for each in fields(Plan)} - {"gates"}
