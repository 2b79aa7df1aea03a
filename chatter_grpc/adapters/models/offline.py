"""The built-in model, which answers by quoting and says plainly that it is no language model."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from chatter_grpc.adapters.models.quoting import Passage, Quote, best_quotes, last_sentence, questions_in
from chatter_grpc.core.errors import ProviderTimeout
from chatter_grpc.core.models import (
    Finished,
    FinishReason,
    ModelDelta,
    ModelRequest,
    Role,
    TextPiece,
    TokenCount,
    Turn,
)

PROVIDER: Final = "chatter"
OFFLINE_MODEL: Final = "chatter/offline"

_UNCONFIGURED: Final = "No language model is configured"
_OFFLINE: Final = "This is the built-in offline model"
# An answer of ours that stands in the conversation is no source: what it quotes is there already.
_OWN_OPENINGS: Final = (_UNCONFIGURED, _OFFLINE)

# A word with the space after it; what has no spaces is cut, so that it streams too.
_TOKEN: Final = re.compile(r"\S{1,32}\s*|\s+")

_INLINE_CHARS: Final = 8_000
_READ_CHARS: Final = 1_000_000
_RANKING_SECONDS: Final = 30.0


class OfflineChat:
    """Implements ``ChatModel`` without a model: the sentences of the conversation that fit the question best.

    Quoting is deterministic, so a temperature has no meaning here, and neither has a system prompt but for its length.
    ``max_tokens`` is honoured. A token is a word with the space after it (at most 32 characters), and the counts are of
    those. Of a very long conversation, the latest million characters are read. A message may hold a text and, before or
    after it, a question about it: the question is then put to the text.
    """

    def __init__(self, *, seconds_per_token: float = 0.012, language_models: Sequence[str] = ()) -> None:
        """Take the pace and the language models that the server offers too, to be named in answers."""
        if not seconds_per_token >= 0:
            raise ValueError("seconds_per_token is not to be negative")
        self._pace = seconds_per_token
        self._language_models = tuple(language_models)
        # Long texts are ranked beside the event loop, one at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="quoting")

    @property
    def provider(self) -> str:
        """``chatter``."""
        return PROVIDER

    def close(self) -> None:
        """Give the thread back; what waits for it is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelDelta], None]:
        """Stream an answer, a word at a time; see ``ChatModel.stream``."""
        asked_tokens, answer = await self._prepare(request)
        tokens = [found[0] for found in _TOKEN.finditer(answer)]
        said = tokens if request.max_tokens is None else tokens[: request.max_tokens]
        for number, token in enumerate(said, start=1):
            # With each word, so that a cancelled answer is counted too.
            yield TextPiece(token), TokenCount(asked_tokens, number)
            await asyncio.sleep(self._pace)
        yield (Finished(FinishReason.STOP if len(said) == len(tokens) else FinishReason.LENGTH),)

    async def _prepare(self, request: ModelRequest) -> tuple[int, str]:
        if sum(len(turn.text) for turn in request.turns) + len(request.system_prompt) <= _INLINE_CHARS:
            return self._answer(request)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_RANKING_SECONDS):
                return await loop.run_in_executor(self._thread, self._answer, request)
        except TimeoutError:
            raise ProviderTimeout(provider=PROVIDER, phase="first_token") from None

    def _answer(self, request: ModelRequest) -> tuple[int, str]:
        """Return the number of tokens that were asked with, and the answer."""
        asked = _count_tokens(request.system_prompt) + sum(_count_tokens(turn.text) for turn in request.turns)
        quotes = _quotes_for(request.turns)
        return asked, self._quoting(quotes) if quotes else self._declining()

    def _quoting(self, quotes: Sequence[Quote]) -> str:
        opening = _OFFLINE if self._language_models else _UNCONFIGURED
        lines = [f"{opening}, so this is quoted, not written:"]
        lines += [f"\u201c{quote.text}\u201d ({quote.source})" for quote in quotes]
        return "\n\n".join(lines)

    def _declining(self) -> str:
        if self._language_models:
            return (
                f"{_OFFLINE}, which can only quote, and nothing here answers that. "
                f"Choose a language model, such as {self._language_models[0]}."
            )
        return (
            f"{_UNCONFIGURED}, and nothing here could be quoted as an answer. "
            "To configure one, set CHATTER_OPENAI_API_KEY; docs/configuration.md says how."
        )


def _quotes_for(turns: Sequence[Turn]) -> Sequence[Quote]:
    if not turns:
        return ()
    message = turns[-1].text[-_READ_CHARS:]
    question = questions_in(message) or (last_sentence(message),)
    passages = _passages(turns)
    never = list(question)
    for turn in turns[:-1]:
        if turn.role is Role.USER:
            never += questions_in(turn.text[-_READ_CHARS:])
    return best_quotes(passages, " ".join(question), never=never)


def _passages(turns: Sequence[Turn]) -> list[Passage]:
    """Return what may be quoted, the latest first, each called by whose it is and how many of theirs came after it."""
    passages = []
    back = {Role.USER: 0, Role.ASSISTANT: 1}
    unread = _READ_CHARS
    for turn in reversed(turns):
        if turn.role is Role.USER:
            source = "your message" if back[turn.role] == 0 else f"your message, {back[turn.role]} back"
        else:
            source = f"an answer, {back[turn.role]} back"
        back[turn.role] += 1
        if turn.role is Role.ASSISTANT and turn.text.startswith(_OWN_OPENINGS):
            continue
        if unread <= 0:
            break
        text = turn.text[-unread:]
        unread -= len(text)
        passages.append(Passage(text=text, source=source))
    return passages


def _count_tokens(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))
