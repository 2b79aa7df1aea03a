"""Runs the command line as ``python -m chatter_grpc``."""

from chatter_grpc.cli import main

main()
