"""`chatter`: a chat in the terminal."""

import io
import sys


def main() -> None:
    """Run the command; says what to install where the terminal's own libraries are missing."""
    try:
        # What a program that only uses the client does not need to have.
        from chatter_client.terminal.commands import app  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if missing.name not in {"rich", "typer"}:
            raise
        print(f"chatter: {missing.name} is missing; install chatter-client[terminal]", file=sys.stderr)
        raise SystemExit(1) from None
    # A terminal of another encoding, or bytes that are no text, are no reason to fall over.
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    app()
