"""Finds out who calls, on all methods but the public ones."""

from collections.abc import Mapping
from typing import Any, Final

from chatter_grpc.core.authentication import Authenticator
from chatter_grpc.core.errors import CredentialsMissing, SubjectRefused
from chatter_grpc.rpc.call import current_call
from chatter_grpc.rpc.interceptors.layer import Context, Layer, Next, proceed
from chatter_grpc.rpc.policy import Access, MethodPolicy

AUTHORIZATION: Final = "authorization"
SUBJECT: Final = "x-chatter-subject"
SCHEME: Final = "bearer"


class AuthenticationInterceptor(Layer):
    """Puts the caller into the call's record. On public methods credentials are not looked at."""

    def __init__(self, policies: Mapping[str, MethodPolicy], authenticator: Authenticator) -> None:
        super().__init__(policies)
        self._public = frozenset(name for name, policy in policies.items() if policy.access is Access.PUBLIC)
        self._authenticator = authenticator

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Authenticate, then go on."""
        if method_name not in self._public:
            credentials, subject = read_credentials(context.invocation_metadata() or ())
            current_call().caller = await self._authenticator.authenticate(credentials, subject)
        return await proceed(method, request_or_iterator, context)


def read_credentials(metadata: Any) -> tuple[str, str]:
    """Return the token or key of ``authorization: Bearer ...``, and the subject that the call acts for, if any.

    Raises ``CredentialsMissing`` unless there is exactly one such entry, and ``SubjectRefused`` where several subjects
    or an empty one are named.
    """
    given = [value for key, value in metadata if key == AUTHORIZATION]
    scheme, _, credentials = given[0].partition(" ") if len(given) == 1 and isinstance(given[0], str) else ("", "", "")
    credentials = credentials.strip(" ")
    if scheme.lower() != SCHEME or not credentials or " " in credentials:
        raise CredentialsMissing
    subjects = [value for key, value in metadata if key == SUBJECT]
    if not subjects:
        return credentials, ""
    if len(subjects) > 1 or not subjects[0] or not isinstance(subjects[0], str):
        raise SubjectRefused
    return credentials, subjects[0]
