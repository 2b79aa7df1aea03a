"""What all updates share: the paths of the fields to set, and the etag that guards against changes in between."""

from collections.abc import Collection
from typing import Final

from chatter_grpc.core.errors import EtagMismatch, FieldInvalid, FieldViolation

MAX_PATHS: Final = 50
SHOWN_PATH: Final = 60


def checked_paths(paths: Collection[str], *, mutable: Collection[str], immutable: Collection[str]) -> frozenset[str]:
    """Return the paths of an update; raises ``FieldInvalid`` where there is none, or one that cannot be set.

    ``immutable`` are the resource's other fields, which tells a typing error from a field that is not to be set.
    """
    if not 0 < len(paths) <= MAX_PATHS:
        wrong = f"must name 1 to {MAX_PATHS} fields"
        raise FieldInvalid([FieldViolation(field="update_mask", description=wrong)])
    violations = []
    for index, path in enumerate(paths):
        if path not in mutable:
            known = "cannot be set" if path in immutable else "is no field of the resource"
            shown = path if len(path) <= SHOWN_PATH else f"{path[:SHOWN_PATH]}…"
            violations.append(FieldViolation(field=f"update_mask.paths[{index}]", description=f"{shown!r} {known}"))
    if violations:
        raise FieldInvalid(violations)
    return frozenset(paths)


def check_version(version: int, etag: str) -> None:
    """Raise ``EtagMismatch`` where an etag is given and is not that of the version."""
    if etag and etag != str(version):
        raise EtagMismatch(etag=str(version))
