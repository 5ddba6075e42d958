"""Uploads that outlive the caller's token: Keystone lets the service act for the user while one lasts (a trust).

Everything here blocks.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from blick.model.errors import StoreError
from blick.stores.swift.auth import Access, CallerLogin, KeystoneLogin, as_store_errors
from blick.stores.swift.errors import Refusal
from blick.stores.swift.options import Account, SwiftOptions

_log = logging.getLogger(__name__)

LONG_UPLOAD_BYTES = 1 << 30
"""Shorter ones are over before a token is, at 1 MB/s within 20 minutes; a trust costs Keystone five requests."""
_LIFE = timedelta(days=2)  # for trusts that a killed process could not end


class TrustLogin:
    """A Login as the user, by a trust to the service. `end` it when the upload is over."""

    def __init__(self, name: str, account: Account, options: SwiftOptions, caller: CallerLogin) -> None:
        """Makes the trust. Raises CallerRefused, StoreUnavailable where Keystone makes none."""
        self.refused: Refusal = caller.refused
        self._name = name
        service = KeystoneLogin(name, account, options)
        self._trust_id = _make_trust(name, service, caller)
        self._login = KeystoneLogin(name, account, options, trust_id=self._trust_id, refused=caller.refused)

    def access(self) -> Access:
        """See Login."""
        return self._login.access()

    def renew(self, stale: Access) -> Access | None:
        """See Login."""
        return self._login.renew(stale)

    def end(self) -> None:
        """Take the trust back. Where that fails it is logged, and the trust ends by itself."""
        try:
            with as_store_errors(self._name, self.refused):
                url = f"{self._login.address}/OS-TRUST/trusts/{self._trust_id}"
                self._login.session.delete(url, headers={"X-Auth-Token": self.access().token}, authenticated=False)
        except StoreError as error:
            _log.warning("store %s: a trust could not be ended: %s", self._name, error)


def login_for_upload(
    name: str, options: SwiftOptions, caller: CallerLogin, size_bytes: int | None
) -> CallerLogin | TrustLogin:
    """The caller, or a trust where the upload may be long and the service has an account to be trusted."""
    account = options.account
    is_long = size_bytes is None or size_bytes >= LONG_UPLOAD_BYTES
    if not (options.use_trusts and is_long and account and account.uses_keystone and account.user):
        return caller
    caller.access()  # what is wrong with the caller is told as that
    try:
        return TrustLogin(name, account, options, caller)
    except StoreError as error:
        # As for callers with application credentials, who may give no trusts. A short upload works even so.
        _log.warning("store %s: no trust for an upload, so it has to end before the caller's token: %s", name, error)
        return caller


def _make_trust(name: str, service: KeystoneLogin, caller: CallerLogin) -> str:
    context = caller.caller
    trust: dict[str, Any] = {
        "trustor_user_id": context.user_id,
        "trustee_user_id": service.user_id(),
        "project_id": context.project_id,
        "impersonation": True,
        "roles": [{"name": role} for role in sorted(context.roles)],
        "expires_at": (datetime.now(UTC) + _LIFE).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    with as_store_errors(name, caller.refused):
        answer = service.session.post(
            f"{service.address}/OS-TRUST/trusts",
            json={"trust": trust},
            headers={"X-Auth-Token": caller.access().token},
            authenticated=False,
        )
    return str(answer.json()["trust"]["id"])
