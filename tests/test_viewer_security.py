"""Who may ask the viewer, what its answers allow a browser, and that nothing outside the runs can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from viewer_run import HOSTILE, make_hostile_run, make_run

from stepladder.config import ConfigError
from stepladder.stages.view import ViewConfig, address_of
from stepladder.viewer.guard import Guard, GuardSettings
from stepladder.viewer.runs import Runs
from stepladder.viewer.server import ViewerSettings, make_app

SECRET = "the contents of a file that nobody may read"
PAGE, LIST = "/run/run/trajectory/episodes/one", "/api/runs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    make_run(made / "run", "first", seeds=1, attempts=1)
    (made / "secret.json").write_text(json.dumps({"secret": SECRET}))
    (made / "secret.jsonl").write_text((made / "run" / "episodes.jsonl").read_text().replace("Press Open", SECRET))
    return made


@pytest.fixture(scope="module")
def runs(folder: Path) -> Iterator[Runs]:
    runs = Runs([folder / "run"])
    yield runs
    runs.close()


def client(runs: Runs, token: str | None = None, host: str = "127.0.0.1", base: str = "http://127.0.0.1:8800") -> TestClient:
    guard = GuardSettings(host, 8800, token)
    return TestClient(make_app(runs, ViewerSettings(guard)), base_url=base, follow_redirects=False)


@pytest.mark.parametrize(
    "path", ["/", PAGE, "/compare?a=1", "/live/run", "/play", LIST, "/api/runs/none", "/static/js/main.js", "/none"]
)
def test_headers_of_every_answer(runs: Runs, path: str) -> None:
    headers = client(runs).get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' data:"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_pages_keep_to_the_policy(runs: Runs) -> None:
    """No script or style stands in the page itself, and nothing comes from elsewhere."""
    page = client(runs).get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|\bstyle=", page)
    for address in re.findall(r"""(?:src|href)="([^"]*)""", page):
        assert address.startswith(("/static/", "data:image/")), address
        assert address.startswith("data:") or client(runs).get(address).status_code == 200


def test_only_under_its_own_name(runs: Runs) -> None:
    """A name of another site's that leads to this machine (DNS rebinding) is not answered."""
    for host in ("127.0.0.1:8800", "localhost:8800", "[::1]:8800", "127.0.0.1"):
        assert client(runs).get(LIST, headers={"host": host}).status_code == 200, host
    for host in (
        "evil.example",
        "evil.example:8800",
        "127.0.0.1.evil.example",
        "10.0.0.5:8800",
        "[::1",
        "",
        "127.0.0.1@evil.example",
    ):
        answer = client(runs).get(LIST, headers={"host": host})
        assert answer.status_code == 421, host
        assert "episodes" not in answer.text
    wide = client(runs, "secret", "0.0.0.0")
    for host, status in (("10.0.0.5:8800", 401), ("evil.example", 421), ("localhost", 401)):
        assert wide.get(LIST, headers={"host": host}).status_code == status, host
    named = client(runs, "secret", "viewer.lan")
    assert [named.get(LIST, headers={"host": host}).status_code for host in ("viewer.lan:8800", "10.0.0.5")] == [401, 421]


def test_pages_of_other_sites_may_not_ask(runs: Runs) -> None:
    for headers, status in (
        ({"origin": "http://127.0.0.1:8800"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
    ):
        assert client(runs).get(LIST, headers=headers).status_code == status, headers


def test_the_token(runs: Runs) -> None:
    asked = client(runs, "s3cret/+=")
    for path in ("/", LIST, "/api/runs/run", "/static/js/main.js", f"{LIST}?token=wrong", f"{LIST}?token="):
        answer = asked.get(path)
        assert answer.status_code == 401, path
        assert "set-cookie" not in answer.headers
    assert asked.get(LIST, headers={"cookie": "stepladder_view_8800=wrong"}).status_code == 401
    assert asked.get(LIST, headers={"authorization": "Bearer s3cret/+="}).status_code == 200
    entry = asked.get("/run/run?view=tasks&token=s3cret%2F%2B%3D&task=a%26b")
    assert entry.status_code == 200
    cookie = entry.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "url=/run/run?view=tasks&amp;task=a%26b" in entry.text
    assert "s3cret" not in entry.text, "the page goes on without the token"
    assert "s3cret" not in entry.headers.get("location", "")
    assert asked.get(LIST).status_code == 200, "the client has kept the cookie"
    assert client(runs, "another").get(LIST, headers={"cookie": cookie.partition(";")[0]}).status_code == 401


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", '/"><script>alert(1)</script>'])
def test_the_way_in_leads_nowhere_else(runs: Runs, path: str) -> None:
    answer = client(runs, "secret").get(f"http://127.0.0.1:8800{path}?token=secret&x=%22%3E%3Cscript%3E")
    assert re.search(r'url=/[^/"]', answer.text)
    assert "<script" not in answer.text


async def _talk(scope: object, receive: object, send: object) -> None:
    socket = WebSocket(scope, receive, send)  # type: ignore[arg-type]
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({"origin": "http://127.0.0.1:8800", "cookie": "stepladder_view_8800=secret"}, True),
        ({"origin": "http://127.0.0.1:8800"}, False),
        ({"origin": "https://evil.example", "cookie": "stepladder_view_8800=secret"}, False),
        ({"cookie": "stepladder_view_8800=secret"}, False),
        ({"origin": "http://evil.example", "host": "evil.example", "cookie": "stepladder_view_8800=secret"}, False),
    ],
)
def test_web_sockets_are_of_its_own_pages(headers: dict[str, str], let_in: bool) -> None:
    asked = TestClient(Guard(_talk, GuardSettings(port=8800, token="secret")), base_url="http://127.0.0.1:8800")
    url = "ws://127.0.0.1:8800/api/play/socket?token=secret"
    if let_in:
        with asked.websocket_connect(url, headers=headers) as socket:
            assert socket.receive_text() == "hello"
    else:
        with pytest.raises(WebSocketDisconnect) as refused, asked.websocket_connect(url, headers=headers):
            pass
        assert refused.value.code == 1008


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static/js/..%2f..%2f..%2fserver.py",
        "/static//etc/passwd",
        "/api/runs/..%2Fsecret",
        "/api/runs/%2e%2e",
        "/api/runs/run/trajectories/..%2F..%2Fsecret/press-0-first-0",
        "/api/runs/run/trajectories/..%2Fsecret/press-0-first-0",
        "/api/runs/run/trajectories?store=../secret",
        "/api/images/run/..%2F..%2Fsecret.json",
        "/api/images/..%2F/secret",
        "/api/reports/run/..%2F..",
        "/api/reports/run/%2e%2e",
        "/api/live/..%2Fsecret/screens",
        "/run/../secret.json",
        "/../secret.json",
        "/api/runs/run/metrics?phase=../secret",
    ],
)
def test_no_path_leads_out_of_the_runs(runs: Runs, path: str) -> None:
    answer = client(runs).get(f"http://127.0.0.1:8800{path}")
    assert SECRET not in answer.text
    assert "GuardSettings" not in answer.text
    assert "root:" not in answer.text
    assert answer.status_code in (400, 404) or answer.headers["content-type"].startswith("text/html")


def test_links_in_a_run_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "linked"
    make_run(run, "first", seeds=1, attempts=1)
    digest = "cd" * 32
    (run / "images" / "cd").mkdir(exist_ok=True)
    picture = next((folder / "run" / "images").rglob("*.png"))
    (run / "images" / "cd" / f"{digest}.png").symlink_to(picture)
    for name, target in (
        ("config.json", folder / "secret.json"),
        ("report.html", folder / "secret.json"),
        ("environment.json", folder / "secret.json"),
        ("more.jsonl", folder / "secret.jsonl"),
        ("alarms.jsonl", folder / "secret.json"),
        ("part", folder),
        ("live", folder),
    ):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)
    runs = Runs([run])
    asked = client(runs)
    assert asked.get(f"/api/images/linked/{digest}").status_code == 404
    answer = asked.get("/api/runs/linked").json()
    assert (answer["config"], answer["report"], answer["alarms"], answer["machine"]) == ({}, None, [], None)
    assert [store["id"] for store in answer["stores"]] == ["episodes"]
    assert asked.get("/api/live/linked/screens").json()["screens"] == []
    assert SECRET not in asked.get("/api/runs").text
    runs.close()


def test_a_report_of_a_run_is_a_page_without_powers(folder: Path, runs: Runs) -> None:
    (folder / "run" / "report.html").write_text("<h1>Report</h1><script>alert(1)</script>")
    run = client(runs).get("/api/runs/run").json()
    answer = client(runs).get(run["report"])
    assert answer.status_code == 200
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    make_hostile_run(tmp_path / "hostile")
    runs = Runs([tmp_path])
    asked = client(runs)
    listed = asked.get("/api/runs/hostile/trajectories").json()["trajectories"]
    assert {one["group"] for one in listed} == {HOSTILE}
    for path in ("", "/trajectories", "/tasks", "/groups", "/metrics"):
        answer = asked.get(f"/api/runs/hostile{path}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.content.isascii()
    assert asked.get("/api/runs/hostile/trajectories", params={"task": HOSTILE, "group": HOSTILE}).json()["total"] == 2
    assert asked.get("/api/runs/hostile/trajectories", params={"q": "' or 1=1 --"}).json()["total"] == 0
    runs.close()


def test_methods_that_change_something_are_not_there(runs: Runs) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert client(runs).request(method, LIST).status_code in (404, 405)


def test_settings_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for changed, message in (
        ({"token": "none", "host": "0.0.0.0"}, "whoever comes could read the runs"),
        ({"port": 0}, "port is 0; it must be 1 to 65535"),
        ({"runs": (tmp_path / "none",)}, "there is no run directory"),
        ({"runs": (tmp_path / "file",)}, "is a file; give the run's directory"),
        ({"runs": ()}, "give one directory"),
        ({"tokenizer": tmp_path}, "has no tokenizer.json"),
    ):
        with pytest.raises(ConfigError, match=message):
            ViewConfig(**{"runs": (tmp_path,), **changed}).check()  # type: ignore[arg-type]
    ViewConfig((tmp_path,), token="none").check()
    assert address_of("0.0.0.0", 80, "a b") == "http://127.0.0.1:80/?token=a%20b"
    assert address_of("::1", 80, None) == "http://[::1]:80/"
