"""A server's address is announced as one line, and read from it again."""

import pytest

from chatter_grpc.cli.addresses import reachable
from chatter_grpc.cli.announcement import announce, read_announcement


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "[::1]:1", "unix:/run/chatter", "chat.example.org:443"])
def test_what_is_announced_is_read_again(address: str) -> None:
    assert read_announcement(f"{announce(address)}\n") == address


@pytest.mark.parametrize("line", ["", "Chatter serves", "It said: Chatter 1 serves on x:1", "Chatter 1 serves on a b"])
def test_other_lines_announce_nothing(line: str) -> None:
    assert read_announcement(line) is None


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("10.1.2.3:50051", "10.1.2.3:50051"),
        ("unix:/run/chatter", "unix:/run/chatter"),
    ],
)
def test_a_server_on_all_addresses_is_reached_on_the_loopback(listen: str, expected: str) -> None:
    assert reachable(listen) == expected
