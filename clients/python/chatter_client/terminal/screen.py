"""What the terminal shows: an answer as it arrives, as Markdown on a terminal and as it is elsewhere."""

import re
import sys
from collections.abc import Iterable
from datetime import UTC
from types import TracebackType
from typing import Final, Protocol, Self

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from chatter_client.contract import content_pb2
from chatter_client.folding import Fold
from chatter_client.interruptions import Interruption

REFRESHES_PER_SECOND: Final = 8
TITLE_CHARACTERS: Final = 60
NOTED_SECONDS: Final = 0.3
SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
# What a terminal would obey instead of showing.
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str) -> str:
    """Return a text without anything that a terminal takes as a command."""
    return CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def typed(text: str) -> str:
    """Return what was typed or piped in without what stands for bytes that are no text: no call can carry it."""
    return SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text).strip()


def in_words(usage: content_pb2.Usage) -> str:
    """Return what was used as a line."""
    tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
    cost = f"${usage.cost_micros / 1e6:.6f}" if usage.HasField("cost_micros") else "price not known"
    return f"{tokens}, {cost}" + (" (estimated)" if usage.estimated else "")


def title_of(text: str) -> str:
    """Return the beginning of a message as a title."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def when(time: Timestamp) -> str:
    """Return a time in this machine's zone."""
    return f"{time.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M}"


class Tail:
    """The last lines of a Markdown text, as many as there is room for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render what fits."""
        lines = console.render_lines(Markdown(self._text), options, pad=False)
        for line in lines[-max(console.height - 2, 1) :]:
            yield from line
            yield Segment.line()


class Answer(Protocol):
    """One answer on its way, within ``with``."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, fold: Fold) -> None:
        """Show how far it is."""
        ...

    def note(self, text: str) -> None:
        """Say something beside it."""
        ...


class LiveAnswer:
    """A spinner, then the end of the answer as it grows, and at last the whole of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = ""
        self._live = Live(
            Spinner("dots", "thinking"), console=console, transient=True, refresh_per_second=REFRESHES_PER_SECOND
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._text:
            self._console.print(Markdown(self._text))

    def show(self, fold: Fold) -> None:
        """See ``Answer``."""
        if fold.text:
            self._text = shown(fold.text)
            self._live.update(Tail(self._text))

    def note(self, text: str) -> None:
        """See ``Answer``."""
        self._live.console.print(Text(shown(text), style="dim"))


class PlainAnswer:
    """The text on stdout, piece by piece; whatever else is to be said goes to stderr."""

    def __init__(self) -> None:
        self._written = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._written and not self._written.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()

    def show(self, fold: Fold) -> None:
        """See ``Answer``."""
        text = fold.text
        if not text.startswith(self._written):
            self.note("the answer begins anew")
            sys.stdout.write("\n")
            self._written = ""
        sys.stdout.write(text[len(self._written) :])
        sys.stdout.flush()
        self._written = text

    def note(self, text: str) -> None:
        """See ``Answer``."""
        print(f"chatter: {text}", file=sys.stderr)


class Screen:
    """Shows answers and notes; ``live`` where stdout is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self.live = self._console.is_terminal
        self._answer: Answer | None = None
        self._noted = False

    def answer(self) -> Answer:
        """Begin an answer."""
        self._answer = LiveAnswer(self._console) if self.live else PlainAnswer()
        self._noted = False
        return self._answer

    def interrupted(self, interruption: Interruption) -> None:
        """Show once in an answer that its stream broke and goes on, where that takes a while."""
        if self._answer is not None and interruption.pause >= NOTED_SECONDS and not self._noted:
            self._noted = True
            self._answer.note("the connection is gone; trying again")

    def say(self, text: str, style: str = "") -> None:
        """Show a line."""
        self._console.print(Text(shown(text), style=style))

    def complain(self, text: str) -> None:
        """Show what went wrong."""
        if self.live:
            self.say(text, "red")
        else:
            print(f"chatter: {text}", file=sys.stderr)

    def hint(self, text: str) -> None:
        """Show something that only a person at a terminal wants to know."""
        if self.live:
            self.say(text, "dim")

    def message(self, name: str, text: str) -> None:
        """Show a message of before."""
        self.say(name, "bold")
        self._console.print(Markdown(shown(text)))

    def table(self, rows: Iterable[str]) -> None:
        """Show lines."""
        for row in rows:
            self.say(row)
