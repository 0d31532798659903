from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockstep_lab.endpoints import Endpoint, format_address
from blockstep_lab.relay import Relay
from blockstep_lab.relay_api import ApiServer, RelayApi


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay(("127.0.0.1", 9), conditions_up="loss 5%", seed=7) as running:
        yield running


@pytest.fixture
def api(relay: Relay) -> RelayApi:
    return RelayApi(relay)


def ask(api: RelayApi, method: str, path: str, value: Any = None) -> tuple[int, Any]:
    return api.answer_untrusted(method, path, b"" if value is None else json.dumps(value).encode())


def test_a_toxic_comes_changes_and_goes(api: RelayApi, relay: Relay) -> None:
    slow = {"name": "slow", "type": "latency", "stream": "upstream", "attributes": {"latency": 50}}
    assert ask(api, "POST", "/proxies/link/toxics", slow)[0] == 200
    assert relay.report().up.conditions == "delay 50ms loss 5%"
    status, changed = ask(api, "POST", "/proxies/link/toxics/slow", {"attributes": {"jitter": 5}})
    assert (status, changed["attributes"]) == (200, {"latency": 50, "jitter": 5})
    assert relay.report().up.conditions == "delay 50ms 5ms loss 5%"
    assert ask(api, "GET", "/proxies/link/toxics") == (200, [changed])
    assert ask(api, "GET", "/proxies/link/toxics/slow") == (200, changed)
    assert ask(api, "DELETE", "/proxies/link/toxics/slow") == (204, None)
    assert relay.report().up.conditions == "loss 5%"


def test_rules_are_toxics_too_and_reset_takes_all_away(api: RelayApi, relay: Relay) -> None:
    rule = {"type": "rule", "stream": "upstream", "attributes": {"rule": "drop ACK 3"}}
    assert ask(api, "POST", "/proxies/link/toxics", rule)[0] == 200
    assert relay.report().rules == [("up drop ACK 3", 0)]
    assert ask(api, "POST", "/reset") == (204, None)
    assert relay.report().rules == []


def test_a_disabled_link_loses_everything(api: RelayApi, relay: Relay) -> None:
    assert ask(api, "POST", "/proxies/link", {"enabled": False})[1]["enabled"] is False
    assert relay.report().down.conditions == "loss 100%"
    assert ask(api, "PATCH", "/proxies/link", {"enabled": True})[0] == 200
    assert relay.report().down.conditions == ""


def test_the_link_is_shown_as_a_proxy(api: RelayApi, relay: Relay) -> None:
    listen = format_address(relay.address)
    expected = {"name": "link", "listen": listen, "upstream": "127.0.0.1:9", "enabled": True, "seed": "7", "toxics": []}
    assert ask(api, "GET", "/proxies") == (200, {"link": expected})
    assert ask(api, "GET", "/proxies/link/") == (200, expected)
    assert ask(api, "GET", "/version")[0] == 200
    assert ask(api, "GET", "/report")[1]["seed"] == "7"


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/proxies/other", None, 404),
        ("DELETE", "/proxies/link", None, 404),
        ("DELETE", "/proxies/link/toxics/none", None, 404),
        ("POST", "/proxies/link/toxics/none", {}, 404),
        ("POST", "/proxies/link/toxics", None, 400),
        ("POST", "/proxies/link/toxics", [], 400),
        ("POST", "/proxies/link/toxics", {"type": "netem", "attributes": {"words": "dealy 5ms"}}, 400),
        ("POST", "/proxies/link", {"enabled": 1}, 400),
    ],
)
def test_a_bad_request_has_the_status_and_the_shape_of_toxiproxy(
    api: RelayApi, method: str, path: str, value: Any, status: int
) -> None:
    got, answer = ask(api, method, path, value)
    assert (got, answer["status"]) == (status, status)
    assert answer["error"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]), st.text(max_size=30), st.binary(max_size=60))
def test_any_request_has_an_answer(api: RelayApi, method: str, path: str, body: bytes) -> None:
    status, value = api.answer_untrusted(method, f"/{path}", body)
    assert status in (200, 204, 400, 404, 409)
    json.dumps(value)


@pytest.fixture
def server(api: RelayApi) -> Iterator[ApiServer]:
    """The server as its owner drives it: wait for its descriptor, handle one request."""
    stop, stopped = socket.socketpair()
    with ApiServer(Endpoint("127.0.0.1", 0), api) as running, stop, stopped:

        def drive() -> None:
            while stopped.fileno() not in select.select([running.fileno(), stopped.fileno()], [], [])[0]:
                running.handle_request()

        driver = threading.Thread(target=drive)
        driver.start()
        yield running
        stop.send(b"x")
        driver.join()


def request(server: ApiServer, method: str, path: str, body: str = "", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(str(server.address[0]), server.address[1], timeout=10)
    try:
        connection.request(method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_it_speaks_http(server: ApiServer, relay: Relay) -> None:
    toxic = json.dumps({"type": "latency", "attributes": {"latency": 20}})
    assert request(server, "POST", "/proxies/link/toxics", toxic)[0] == 200
    assert relay.report().down.conditions == "delay 20ms"
    assert request(server, "DELETE", "/proxies/link/toxics/latency_downstream") == (204, b"")
    assert relay.report().down.conditions == ""
    assert request(server, "GET", "/nothing")[0] == 404
    assert request(server, "BREW", "/proxies")[0] == 404


def test_browsers_and_large_bodies_are_refused(server: ApiServer) -> None:
    assert request(server, "GET", "/proxies", User_Agent="Mozilla/5.0")[0] == 403
    assert request(server, "POST", "/reset", "x", Content_Length="99999999999999999999")[0] == 413


def test_a_client_that_dawdles_is_cut_off(server: ApiServer) -> None:
    with socket.create_connection(server.address[:2], timeout=10) as slow:
        slow.sendall(b"POST /reset HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        assert request(server, "GET", "/version")[0] == 200
        assert slow.recv(100) == b""
