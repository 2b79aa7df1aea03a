"""`chatter-grpc serve`: one server process, from its settings to its graceful stop."""

import asyncio
import gc
import shlex
import signal
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop

from chatter_grpc.app.serving import serve as serve_app
from chatter_grpc.cli.addresses import reachable
from chatter_grpc.cli.announcement import announce, own_command
from chatter_grpc.cli.faults import said_plainly
from chatter_grpc.config import Settings, load_settings
from chatter_grpc.core.runs.committer import GroupCommitter
from chatter_grpc.logs import set_up_logs

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# A collection holds all streams up for as long as it walks: 3 ms for what is youngest and for the generation behind it,
# 30 for all that is not frozen. What a call leaves in a cycle, some dozen objects, is nearly always among the latter,
# as calls outlive young collections; so all is walked about every 6,000 calls.
GC_THRESHOLDS: Final = (5_000, 1, 60)


app = typer.Typer(add_completion=False)


def serve(
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="ADDRESS", help="host:port (port 0: any free one) or unix:/path."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIRECTORY", help="Where embedded data lives."),
    ] = None,
) -> None:
    """Serve until told to stop.

    SIGTERM and SIGINT (Ctrl-C) stop it gracefully; a second one ends it at once. The options go before
    CHATTER_LISTEN and CHATTER_DATA_DIR; `chatter-grpc config` lists all settings.
    """
    given = {"listen": listen, "data_dir": data_dir}
    with said_plainly():
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        set_up_logs(settings.log_level, settings.log_format)
        uvloop.run(serve_until_told(settings, first_start=is_first_start(settings)))


app.command()(serve)


async def serve_until_told(
    settings: Settings, *, first_start: bool, group_committer: type[GroupCommitter] = GroupCommitter
) -> None:
    """Serve until the first SIGTERM or SIGINT; takes and raises what ``chatter_grpc.app.serving.serve`` does."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def be_told() -> None:
        stop.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            # All that was acknowledged is in the database, so an end at once is as good as a crash: it loses nothing.
            signal.signal(number, signal.SIG_DFL)

    def be_ready(address: str) -> None:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for line in welcome(settings, address) if first_start else ():
            typer.echo(line)
        typer.echo(announce(address))

    for number in SIGNALS:
        loop.add_signal_handler(number, be_told)
    await serve_app(settings, stop=stop, ready=be_ready, group_committer=group_committer)


def is_first_start(settings: Settings) -> bool:
    """Whether the embedded data directory is absent, or is empty as a fresh volume is."""
    return settings.embedded and not (settings.data_dir.exists() and any(settings.data_dir.iterdir()))


def welcome(settings: Settings, address: str) -> list[str]:
    """Return what to know on the first start: where data lives, and how to make an account."""
    lines = [f"Its data lives in {settings.data_dir}, and nowhere else."]
    if settings.registration:
        account = '{"username": "ada", "email": "ada@example.org", "password": "<password>"}'
        lines += [
            "To make an account:",
            f"  grpcurl -plaintext -d '{account}' \\",
            f"    {reachable(address)} chatter.v1.AuthService/Register",
        ]
    elsewhere = settings.data_dir != Settings.model_construct().data_dir.absolute()
    where = f"CHATTER_DATA_DIR={shlex.quote(str(settings.data_dir))} " if elsewhere else ""
    return [
        *lines,
        "To make an administrator's account:",
        f"  {where}{own_command()} admin create-admin ada ada@example.org",
    ]
