"""What the demonstration shows: steps, an answer as it arrives, facts and checks; plain where it is no terminal."""

from rich.console import Console
from rich.text import Text


class CheckFailed(Exception):
    """Something that the demonstration promises did not hold."""


class Screen:
    """Writes to stdout. Nothing is wrapped, so that commands can be copied."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._steps = 0

    def say(self, text: str = "") -> None:
        """Write a line."""
        self._line(text, "")

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._steps += 1
        self._line(f"\n{self._steps}. {title}", "bold")

    def fact(self, name: str, value: object) -> None:
        """Write what the step has shown."""
        self._line(f"   {name + ':':<14} {value}", "")

    def piece(self, text: str) -> None:
        """Write the next piece of an answer, at once and where the one before ended."""
        self._console.print(Text(text, style="cyan"), end="")
        self._console.file.flush()

    def end_answer(self) -> None:
        """End the line that ``piece`` has left open."""
        self._console.print()

    def command(self, command: str, hint: str = "") -> None:
        """Write how to repeat the step by hand."""
        self._line(f"   $ {command}", "green")
        if hint:
            self._line(f"     # {hint}", "dim")

    def check(self, promise: str, *, holds: bool) -> None:
        """Write that a promise holds; raises ``CheckFailed`` where it does not."""
        if not holds:
            raise CheckFailed(promise)
        self._line(f"   ok: {promise}", "bold green")

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(text, style=style))
