"""`chatter-grpc config`: the effective settings, and the configuration reference that is made from them."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from chatter_grpc.cli.faults import said_plainly
from chatter_grpc.cli.settings import Setting, describe_settings, introduction
from chatter_grpc.config import load_settings

app = typer.Typer(add_completion=False)


def config(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of text.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="The reference of all settings, without their values here.")
    ] = False,
) -> None:
    """Show every setting: its value here, where that is from, and what it means.

    Settings are read from environment variables. Values that are secret are not shown. What is not set and follows
    from another setting is shown as derived, with what is in effect.
    """
    if as_markdown:
        typer.echo(write_reference(), nl=False)
        return
    with said_plainly():
        settings = describe_settings(load_settings())
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in settings], indent=2, ensure_ascii=False))
        return
    console = Console(soft_wrap=True, highlight=False)
    for each in settings:
        source = each.source if each.in_effect is None else f"{each.source}: {each.in_effect}"
        line = Text.assemble((each.name, "bold"), "=", as_written(each.value), (f"  ({source})", "dim"))
        console.print(line)
        console.print(Text(f"    {each.meaning}", style="dim"))


app.command()(config)


def write_reference() -> str:
    """Return ``docs/configuration.md``."""
    lines = [
        "# Configuration",
        "",
        "<!-- Made by `chatter-grpc config --markdown`; a test compares the two. -->",
        "",
        introduction(),
        "",
        "Times are in seconds unless a name says otherwise. `chatter-grpc config` shows what is in effect on a",
        "machine, with secrets left out.",
    ]
    for each in describe_settings(None):
        lines += ["", f"## `{each.name}`", "", each.meaning, "", _sentence(each)]
    return "\n".join(lines) + "\n"


def as_written(value: object) -> str:
    """Return a value as it is written in an environment variable; what is unset is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sentence(setting: Setting) -> str:
    default = as_written(setting.value)
    return f"*{setting.kind}; " + (f"default* `{default}`" if default else "not set by default*")
