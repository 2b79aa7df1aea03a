"""Compiles protos that a test makes up, with the options of the contract, outside of the contract's own pool."""

import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[2] / "protos"
HEADER = """
syntax = "proto3";
package made.up;
import "chatter/options/v1/policy.proto";
import "chatter/options/v1/rules.proto";
import "google/protobuf/timestamp.proto";
"""


def compile_proto(source: str) -> FileDescriptor:
    """Compile what follows after syntax, package and imports of a proto file."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "made_up.proto").write_text(HEADER + source)
        return compile_protos("made_up.proto", Path(scratch))


def compile_protos(name: str, *places: Path) -> FileDescriptor:
    """Compile one file and what it imports, into a pool of its own."""
    pool = DescriptorPool()
    for file in descriptor_set(name, *places).file:
        pool.Add(file)
    return pool.FindFileByName(name)


def descriptor_set(name: str, *places: Path) -> descriptor_pb2.FileDescriptorSet:
    """Compile one file and what it imports, with the comments of the sources."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.binpb"
        command = [
            "protoc",
            *(f"-I{place}" for place in (*places, PROTOS, files("grpc_tools") / "_proto")),
            *("--include_imports", "--include_source_info", f"--descriptor_set_out={out}", name),
        ]
        assert protoc.main(command) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
