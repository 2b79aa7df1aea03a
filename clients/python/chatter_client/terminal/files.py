"""Where the terminal keeps what it remembers: the session with each server, and the lines that were typed."""

import os
import re
from pathlib import Path


def state_directory() -> Path:
    """Return the directory, made for its user alone; ``$XDG_STATE_HOME`` moves it."""
    given = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    root = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    directory = root / "chatter"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def session_file(target: str) -> Path:
    """Return the file with the session of one server."""
    return state_directory() / f"session-{re.sub(r'[^A-Za-z0-9.-]', '_', target)}.json"


def history_file() -> Path:
    """Return the file with the lines that were typed, made with mode 0600."""
    path = state_directory() / "history"
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)
    return path
