"""The lines that a person types: with a history, and commands among them."""

import asyncio
import contextlib
import readline
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from chatter_client.errors import ClientError, Unauthenticated
from chatter_client.terminal.chat import Chat
from chatter_client.terminal.files import history_file
from chatter_client.terminal.screen import Screen, typed

PROMPT: Final = "> "
LINES_KEPT: Final = 1000
HELP: Final = """/new            begin a conversation
/list           show the latest conversations
/open N         go to one of them, by its number or its id
/model [NAME]   show the models, or choose one
/resume         go on with an answer whose connection was lost
/quit           leave; so do Ctrl-D, and Ctrl-C twice
Ctrl-C          cancel an answer that is on its way"""


class Prompt:
    """Reads lines and does what they say until the person leaves."""

    def __init__(self, chat: Chat, screen: Screen, runner: asyncio.Runner) -> None:
        self._chat = chat
        self._screen = screen
        self._runner = runner
        self._commands: dict[str, Callable[[str], Awaitable[object]]] = {
            "/new": lambda _: chat.begin(),
            "/list": lambda _: chat.list(),
            "/open": chat.open,
            "/model": chat.choose,
            "/resume": lambda _: chat.resume(),
        }

    def run(self) -> None:
        """Go on until ``/quit``, the end of the input, or Ctrl-C twice; raises ``Left``."""
        self._screen.hint("/help shows the commands.")
        interrupted = False
        with history():
            while True:
                try:
                    line = typed(input(PROMPT))
                except EOFError:
                    self._screen.say("")
                    return
                except KeyboardInterrupt:
                    if interrupted:
                        return
                    interrupted = True
                    self._screen.say("\nCtrl-C again leaves.", "dim")
                    continue
                interrupted = False
                if line == "/quit":
                    return
                if line:
                    with contextlib.suppress(UnicodeEncodeError):
                        # The library keeps what the locale can write.
                        readline.add_history(line)
                    self._do(line)

    def _do(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name == "/help":
            self._screen.say(HELP)
            return
        command = self._commands.get(name)
        if command is None and name.startswith("/"):
            self._screen.complain(f"{name} is no command; /help shows them")
            return
        with contextlib.suppress(KeyboardInterrupt):
            try:
                self._runner.run(_awaited(self._chat.say(line) if command is None else command(rest.strip())))
            except ClientError as error:
                self._screen.complain(str(error))
                if isinstance(error, Unauthenticated) and error.reason == "CREDENTIALS_MISSING":
                    self._screen.hint("Leave, and use `chatter login`.")


async def _awaited(work: Awaitable[object]) -> None:
    await work


@contextlib.contextmanager
def history() -> Iterator[None]:
    """Know the lines of before, and add those of now to them; what is typed for a password is none.

    Where they cannot be kept, there is no history. Chats at several terminals keep the lines of all of them.
    """
    readline.set_auto_history(False)
    readline.set_history_length(LINES_KEPT)
    with contextlib.suppress(OSError):
        readline.read_history_file(history_file())
    known = readline.get_current_history_length()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path = history_file()
            readline.append_history_file(readline.get_current_history_length() - known, path)
            # Written anew by the library where it became too long, with the process's mask.
            path.chmod(0o600)
