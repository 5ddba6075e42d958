"""The health check: for load balancers and service managers; nobody is asked who he is (spec: images-api §3)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from ipaddress import IPv6Address, ip_address

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from blick.conf.settings import HealthSettings

_OK = "OK"
_PROXY_HEADERS = frozenset(
    {b"forwarded", b"x-forwarded", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-for", b"x-forwarded-prefix"}
)


@dataclass(frozen=True, slots=True)
class _Finding:
    check: str
    reason: str
    details: str
    is_grave: bool = True

    @property
    def well(self) -> bool:
        """May the service be given work all the same?"""
        return self.reason == _OK or not self.is_grave


class Health:
    """Says whether this service wants to be given work. `port` is the one it listens on.

    `stores_in_trouble` gives their ids with the reason. They are told of in detail only, and keep nobody away: what
    lies in the others is served.
    """

    def __init__(
        self, settings: HealthSettings, port: int, stores_in_trouble: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._settings = settings
        self._port = port
        self._stores_in_trouble = stores_in_trouble

    def answer(self, scope: Scope, accept: str) -> Response | None:
        """The answer in the shape that `accept` asks for; None for callers who are not to know."""
        if not self._may_ask(scope):
            return None
        findings = tuple(self._findings()) or (_Finding("", _OK, ""),)
        well = all(finding.well for finding in findings)
        status = 200 if well else 503
        if scope["method"] == "HEAD":
            return Response(status_code=204 if well else 503)
        if "application/json" in accept:
            document = msgspec.json.encode(self._document(findings))
            return Response(msgspec.json.format(document, indent=4), status, media_type="application/json")
        if "text/html" in accept:
            rows = "".join(f"<tr>{self._cells(finding)}</tr>" for finding in findings)
            page = f"<html><body><table>{rows}</table></body></html>"
            return Response(page, status, media_type="text/html; charset=UTF-8")
        reasons = [finding.reason for finding in findings if not finding.well] or [_OK]
        return Response("\n".join(reasons), status, media_type="text/plain; charset=UTF-8")

    def _may_ask(self, scope: Scope) -> bool:
        if self._settings.ignore_proxied_requests and any(
            name in _PROXY_HEADERS and value for name, value in scope["headers"]
        ):
            return False
        return not self._settings.allowed_source_ranges or self._comes_from_there(scope)

    def _comes_from_there(self, scope: Scope) -> bool:
        client = scope.get("client")
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._settings.allowed_source_ranges)

    def _findings(self) -> Iterator[_Finding]:
        for port, file in self._settings.disable_by_files:
            if port in (None, self._port):
                there = file.exists()
                details = f"Path '{file}' was {'' if there else 'not '}found"
                yield _Finding("disable_by_file", "DISABLED BY FILE" if there else _OK, details)
        if self._settings.enable_by_files:
            missing = next((file for file in self._settings.enable_by_files if not file.exists()), None)
            if missing is None:
                yield _Finding("enable_by_files", _OK, "Specified file paths are available")
            else:
                yield _Finding("enable_by_files", "FILE PATH MISSING", f"File path {missing} is missing")
        if self._settings.detailed:
            for store_id, reason in self._stores_in_trouble().items():
                yield _Finding("stores", "STORE UNAVAILABLE", f"Store {store_id}: {reason}", is_grave=False)

    def _document(self, findings: tuple[_Finding, ...]) -> dict[str, object]:
        if not self._settings.detailed:
            return {"detailed": False, "reasons": [finding.reason for finding in findings]}
        reasons = [{"class": each.check, "details": each.details, "reason": each.reason} for each in findings]
        return {"detailed": True, "reasons": reasons}

    def _cells(self, finding: _Finding) -> str:
        texts = [finding.reason, finding.details] if self._settings.detailed else [finding.reason]
        return "".join(f"<td>{escape(text)}</td>" for text in texts)
