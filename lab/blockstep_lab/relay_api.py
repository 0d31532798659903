"""Changing a running link over HTTP, in Toxiproxy's words.

Decided here: paths, methods and status codes. There is one proxy, named `link`; what its toxics mean is `toxics`.

    GET    /version  /proxies  /proxies/link  /proxies/link/toxics  /proxies/link/toxics/NAME  /report
    POST   /proxies/link {"enabled": false}   /proxies/link/toxics {"type": "latency", ...}   /reset
    POST   /proxies/link/toxics/NAME          (PATCH does the same)
    DELETE /proxies/link/toxics/NAME

The server has no thread: its owner waits for its descriptor together with whatever else it waits for, and calls
`handle_request`. So a change and the end of the relay can not meet. A client has one second for its whole request.
Requests of browsers are refused, as Toxiproxy does: a web page must not be able to change a link.
"""

from __future__ import annotations

import io
import json
import re
import socket
import socketserver
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from time import monotonic
from typing import Any

from blockstep import __version__
from blockstep_lab.endpoints import Address, Endpoint, format_address
from blockstep_lab.relay import Relay
from blockstep_lab.toxics import Toxic, ToxicError, Toxics

__all__ = ["PROXY_NAME", "ApiServer", "RelayApi"]

PROXY_NAME = "link"
_LARGEST_BODY = 1 << 16
_PATIENCE_S = 1.0
_TOXIC_PATH = re.compile(rf"/proxies/{PROXY_NAME}/toxics/([A-Za-z0-9._-]{{1,100}})", re.ASCII)

Answer = tuple[int, Any]


class RelayApi:
    """Requests in, answers out, and the relay changed accordingly."""

    def __init__(self, relay: Relay) -> None:
        setup = relay.setup
        self._relay = relay
        self._toxics = Toxics(setup.conditions_up, setup.conditions_down, setup.rules)

    def answer_untrusted(self, method: str, path: str, body: bytes) -> Answer:
        """The status and the JSON value for one request."""
        path = path.partition("?")[0].rstrip("/") or "/"
        toxic = _TOXIC_PATH.fullmatch(path)
        key = (method, "toxic" if toxic else path)
        try:
            if key == ("DELETE", "toxic") and toxic:
                return self._remove(toxic[1])
            if key == ("GET", "toxic") and toxic:
                return 200, self._toxics.get(toxic[1]).to_json()
            if key in (("POST", "toxic"), ("PATCH", "toxic")) and toxic:
                return self._update(toxic[1], _object_untrusted(body))
            return self._answer_plain(key, body)
        except ToxicError as error:
            return error.status, {"error": str(error), "status": error.status}

    def _answer_plain(self, key: tuple[str, str], body: bytes) -> Answer:
        match key:
            case ("GET", "/version"):
                return 200, {"version": __version__}
            case ("GET", "/report"):
                return 200, json.loads(self._relay.report().to_json())
            case ("GET", "/proxies"):
                return 200, {PROXY_NAME: self._proxy()}
            case ("GET", "/proxies/link"):
                return 200, self._proxy()
            case ("GET", "/proxies/link/toxics"):
                return 200, [toxic.to_json() for toxic in self._toxics]
            case ("POST" | "PATCH", "/proxies/link"):
                return self._enable(_object_untrusted(body))
            case ("POST", "/proxies/link/toxics"):
                return self._add(_object_untrusted(body))
            case ("POST", "/reset"):
                self._toxics.reset()
                self._apply()
                return 204, None
        raise ToxicError(404, f"nothing here; the one proxy is '{PROXY_NAME}'")

    def _proxy(self) -> dict[str, Any]:
        return {
            "name": PROXY_NAME,
            "listen": format_address(self._relay.address),
            "upstream": format_address(self._relay.setup.upstream),
            "enabled": self._toxics.enabled,
            "seed": self._relay.seed,
            "toxics": [toxic.to_json() for toxic in self._toxics],
        }

    def _enable(self, raw: Mapping[str, Any]) -> Answer:
        enabled = raw.get("enabled", self._toxics.enabled)
        if not isinstance(enabled, bool):
            raise ToxicError(400, "enabled must be true or false")
        self._toxics.enabled = enabled
        self._apply()
        return 200, self._proxy()

    def _add(self, raw: Mapping[str, Any]) -> Answer:
        toxic = Toxic.from_json_untrusted(raw)
        self._toxics.add(toxic)
        self._apply()
        return 200, toxic.to_json()

    def _update(self, name: str, raw: Mapping[str, Any]) -> Answer:
        old = self._toxics.get(name).to_json()
        attributes = raw.get("attributes", {})
        merged = {**old["attributes"], **attributes} if isinstance(attributes, dict) else attributes
        toxic = Toxic.from_json_untrusted({**old, **raw, "name": name, "attributes": merged})
        self._toxics.update(toxic)
        self._apply()
        return 200, toxic.to_json()

    def _remove(self, name: str) -> Answer:
        self._toxics.remove(name)
        self._apply()
        return 204, None

    def _apply(self) -> None:
        toxics = self._toxics
        self._relay.change(up=toxics.conditions("up"), down=toxics.conditions("down"), rules=toxics.rules())


def _object_untrusted(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ToxicError(400, "the body must be a JSON object")
    return value


class _Handler(BaseHTTPRequestHandler):
    """HTTP around `RelayApi`; every request has its own connection."""

    server: ApiServer
    timeout = _PATIENCE_S

    def setup(self) -> None:
        """Puts a clock on everything that is read."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Impatient(self.request))

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class looks for do_GET, do_POST and so on; every method goes the same way.
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._answer

    def log_message(self, *_: Any) -> None:
        """The link's terminal belongs to its report."""

    def _answer(self) -> None:
        if self.headers.get("User-Agent", "").startswith("Mozilla/"):
            status, value = _refusal(403, "browsers are refused, so that no web page can change the link")
        elif (length := _length_untrusted(self.headers.get("Content-Length", "0"))) is None:
            status, value = _refusal(413, f"a body has at most {_LARGEST_BODY} bytes")
        else:
            status, value = self.server.api.answer_untrusted(self.command, self.path, self.rfile.read(length))
        body = b"" if value is None else json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Impatient(io.RawIOBase):
    """Reads from a socket until the time for the whole request is over; then TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = monotonic() + _PATIENCE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._until - monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


def _refusal(status: int, text: str) -> Answer:
    return status, {"error": text, "status": status}


def _length_untrusted(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        return None
    return length if (length := int(text)) <= _LARGEST_BODY else None


class ApiServer(socketserver.TCPServer):
    """A listening HTTP server; wait for `fileno()`, then call `handle_request`. OSError if the address is not free."""

    allow_reuse_address = True
    timeout = 0.0

    def __init__(self, endpoint: Endpoint, api: RelayApi) -> None:
        family, address = endpoint.resolve_udp()
        self.address_family = family
        self.api = api
        super().__init__(address[:2], _Handler)
        self.address: Address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of its request is its own affair; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
