"""Does what grpcurl does, as far as the cookbook needs it, with `buf curl`, which comes from a Python package.

Run as a script in grpcurl's place. JSON is printed with the names of the proto, and errors as grpcurl prints them.
"""

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc import error_details_pb2

# What grpcurl exits with is 64 and the status code.
CODES: Final = {"invalid_argument": 3, "not_found": 5, "aborted": 10, "unauthenticated": 16}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-H", action="append", default=[], dest="headers")
    parser.add_argument("-d", default="{}", dest="data")
    parser.add_argument("address")
    parser.add_argument("words", nargs="+")
    given = parser.parse_args()
    url = f"http://{given.address}"
    match given.words:
        case ["list"]:
            return run(["--list-services", url])
        case ["list", service]:
            listed = call(["--list-methods", url])
            names = [name.replace("/", ".") for name in listed.stdout.split() if name.startswith(f"{service}/")]
            sys.stdout.write("".join(f"{name}\n" for name in names))
            return listed.returncode
        case [method]:
            data = sys.stdin.read() if given.data == "@" else given.data
            headers = [part for header in given.headers for part in ("-H", header)]
            return run([*headers, "-d", in_protojson(data), f"{url}/{method}"])
        case _:
            raise SystemExit(f"buf curl cannot do this: {given.words}")


def command(arguments: list[str]) -> list[str]:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or "buf"
    return [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(arguments), stdout=subprocess.PIPE, text=True, timeout=60, check=False)


def run(arguments: list[str]) -> int:
    """Print what comes as it comes; return the exit code."""
    with subprocess.Popen(command(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            sys.stdout.write(in_proto_names(line))
            sys.stdout.flush()
        complaint = process.stderr.read()
    if process.returncode:
        return explain(complaint)
    return 0


def in_protojson(data: str) -> str:
    """Write field masks as protojson does; grpcurl takes them as the messages that they are."""
    return re.sub(r'\{"paths": (\[[^]]*\])\}', lambda found: json.dumps(",".join(json.loads(found[1]))), data)


def in_proto_names(line: str) -> str:
    """Write the name before the colon, if there is one, as the proto does: ``runId`` as ``run_id``."""
    return re.sub(r'^(\s*\{?")(\w+)(":)', lambda found: found[1] + snake(found[2]) + found[3], line)


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def explain(complaint: str) -> int:
    try:
        error = json.loads(complaint)
    except json.JSONDecodeError:
        sys.stderr.write(complaint)
        return 1
    code = error["code"]
    lines = ["ERROR:", f"  Code: {code.title().replace('_', '')}", f"  Message: {error['message']}", *details(error)]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 64 + CODES[code]


def details(error: dict[str, Any]) -> Iterator[str]:
    for number, detail in enumerate(error.get("details", ()), start=1):
        name = detail["type"]
        message: Message = getattr(error_details_pb2, name.rpartition(".")[2])()
        message.ParseFromString(base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4)))
        told = json.loads(MessageToJson(message, preserving_proto_field_name=True))
        yield f"  {number}) " + json.dumps(
            {"@type": f"type.googleapis.com/{name}", **dict(sorted(told.items()))}, indent=2
        )


if __name__ == "__main__":
    sys.exit(main())
