"""A certificate that changes is taken, one that cannot be used is not, and its end is told in time."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from chatter_grpc.adapters.tls.files import CertificateFiles
from chatter_grpc.adapters.tls.watch import CertificateWatch
from chatter_grpc.core.certificates import Certificate
from tests.support.certificates import DAY, NOW, issue

CA = issue("authority")
FIRST = issue("first.example", issuer=CA, ends_at=NOW + 60 * DAY)
SECOND = issue("second.example", issuer=CA)


class Desk:
    """A watch on two files with a clock of its own; ``taken`` is what it had taken."""

    def __init__(self, directory: Path) -> None:
        cert, key = FIRST.write(directory, "server")
        self.files = CertificateFiles(cert_file=cert, key_file=key)
        self.now = NOW
        self.taken: list[Certificate] = []
        self.watch = CertificateWatch(self.files, self.files.read(), self.taken.append, self.clock)

    def clock(self) -> datetime:
        return self.now


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


async def test_what_changed_is_taken_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await desk.watch.look()
    SECOND.write(desk.files.cert_file.parent, "server")
    await desk.watch.look()
    await desk.watch.look()
    assert [each.names for each in desk.taken] == [("second.example",)]
    assert events(caplog) == ["certificate_replaced"]


async def test_half_of_a_change_is_waited_for(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.files.cert_file.write_bytes(SECOND.cert_pem)
    await desk.watch.look()
    assert (desk.taken, events(caplog)) == ([], [])
    desk.files.key_file.write_bytes(SECOND.key_pem())
    await desk.watch.look()
    assert [each.names for each in desk.taken] == [("second.example",)]


async def test_what_stays_unusable_is_told_once_and_changes_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.files.key_file.unlink()
    for _ in range(4):
        await desk.watch.look()
    assert (desk.taken, events(caplog)) == ([], ["certificate_refused"])
    assert str(desk.files.key_file) in vars(caplog.records[0])["cause"]


@pytest.mark.parametrize(
    ("later", "event"),
    [
        (timedelta(0), []),
        (timedelta(days=52), []),
        (timedelta(days=54), ["certificate_expires_soon"]),
        (timedelta(days=61), ["certificate_expired"]),
        (timedelta(days=-2), ["certificate_not_yet_valid"]),
    ],
)
async def test_its_end_is_told_once_before_and_once_after(
    later: timedelta, event: list[str], desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.now = NOW + later
    desk.watch.tell_validity()
    desk.watch.tell_validity()
    assert events(caplog) == event


async def test_a_certificate_of_hours_does_not_end_soon_all_its_life(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    short = issue("short.example", issuer=CA, begins_at=NOW, ends_at=NOW + timedelta(hours=24))
    short.write(desk.files.cert_file.parent, "server")
    await desk.watch.look()
    desk.watch.tell_validity()
    assert events(caplog) == []
    desk.now = NOW + timedelta(hours=17)
    desk.watch.tell_validity()
    assert events(caplog) == ["certificate_expires_soon"]
