"""Which requests the dashboard answers, and with which headers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.dashboards import KEY, PORT, Texts, links, opened, write_run

from rayform.reading.client import Client
from rayform_runtime.catalog.entities import RunStatus
from rayform_server.pages import ROUTES
from rayform_server.security import Sessions

OWN = {"origin": f"http://127.0.0.1:{PORT}"}
GETS = sorted(route.path for route in ROUTES if "GET" in (route.methods or ()))
POSTS = sorted(route.path for route in ROUTES if "POST" in (route.methods or ()))


def filled(path: str) -> str:
    """Return a route's path with values for its parameters."""
    return path.replace("{ref}", "none").replace("{id}", "01a21d55-5da9-7043-bbca-3e4c5a8ef61c")


def form_token(browser: TestClient) -> str:
    """Return the token that this session's forms send."""
    session = browser.cookies[f"rayform_{PORT}"]
    return Sessions(KEY, PORT).form_token(session)


def test_no_page_answers_without_a_session(rayform_home) -> None:
    """Without the cookie, every route answers 401 and shows nothing."""
    browser = opened(with_session=False)
    for path in (*GETS, *POSTS, "/nothing"):
        method = browser.post if path in POSTS else browser.get
        assert method(filled(path), headers=OWN).status_code == 401, path


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", f"127.0.0.1.evil.example:{PORT}", "127.0.0.1:1", ""]
)
def test_no_route_answers_another_host(browser: TestClient, host: str) -> None:
    """A name that someone resolves to 127.0.0.1 gets nothing, whatever the path."""
    for path in (*GETS, *POSTS, "/enter", "/static/1/style.css", "/nothing"):
        method = browser.post if path in POSTS else browser.get
        assert method(filled(path), headers={**OWN, "host": host}).status_code == 421, path


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": f"http://localhost:{PORT}"},
        {"origin": f"http://127.0.0.1:{PORT}.evil.example"},
        {**OWN, "sec-fetch-site": "cross-site"},
        {**OWN, "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(browser: TestClient, headers: dict[str, str]) -> None:
    """A form needs this origin, even with the session's cookie and token."""
    for path in POSTS:
        answer = browser.post(path, data={"form_token": form_token(browser)}, headers=headers)
        assert answer.status_code == 403, path


def test_a_form_without_the_sessions_token_is_refused(browser: TestClient, client: Client) -> None:
    """A form needs the session's token, even with the cookie and from this origin; nothing is changed."""
    run = write_run(client)
    for path in POSTS:
        for token in ({}, {"form_token": ""}, {"form_token": "x" * 64}):
            data = {"run": str(run.id), "action": "delete", **token}
            assert browser.post(path, data=data, headers=OWN).status_code == 403, path
    assert client.get_pipeline_run(run.id).name == run.name


def test_a_get_never_changes_anything(browser: TestClient, client: Client) -> None:
    """An action's address does nothing on GET."""
    run = write_run(client)
    for path in POSTS:
        assert browser.get(path, params={"run": str(run.id), "action": "delete"}).status_code == 405
    assert client.get_pipeline_run(run.id).name == run.name


def test_a_token_starts_one_session(rayform_home) -> None:
    """A token works once, the cookie is out of reach of scripts and of other sites."""
    browser, token = opened(with_session=False), Sessions.token(KEY)
    answer = browser.get("/enter", params={"token": token})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.status_code == 200
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert opened(with_session=False).get("/").status_code == 401
    assert browser.get("/enter", params={"token": token}).status_code == 401
    assert browser.get("/").status_code == 200


def test_old_and_foreign_tokens_start_nothing(rayform_home) -> None:
    """A token that expired, or that another key signed, is refused."""
    sessions = Sessions(KEY, PORT)
    assert sessions.begin(Sessions.token(KEY, lifetime=-1)) is None
    assert sessions.begin(Sessions.token(b"other")) is None
    assert sessions.begin(Sessions.token(KEY)) is not None


@given(st.text(max_size=60) | st.from_regex(r"[0-9]+\.[\w-]*\.[0-9a-f]*", fullmatch=True))
def test_no_text_is_a_token(text: str) -> None:
    """Nothing that wasn't signed starts a session, and nothing raises."""
    assert Sessions(KEY, PORT).begin(text) is None


def test_every_answer_has_the_headers(browser: TestClient, client: Client) -> None:
    """Pages, errors, JSON and files carry the policy; it allows no inline script or style and no other host."""
    for path in (*GETS, "/enter", "/static/1/main.js", "/nothing"):
        answer = browser.get(filled(path))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not any(word in policy for word in ("unsafe-inline", "unsafe-eval", "http", "*"))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_static_files_are_only_those(browser: TestClient) -> None:
    """A path can't leave the folder of static files."""
    assert browser.get("/static/1/style.css").status_code == 200
    for path in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "%2fetc%2fpasswd", "vendor", ""):
        assert browser.get(f"/static/1/{path}").status_code == 404


MARKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "</pre></td></table><svg/onload=alert(1)>",
    "<!--",
    "&lt;script&gt;",
    "../../etc/passwd",
]


@pytest.mark.parametrize("mark", MARKS)
def test_what_users_write_is_text_everywhere(browser: TestClient, client: Client, mark: str) -> None:
    """Names, tags, metadata, errors and logs never become HTML on any page that links lead to."""
    texts = Texts(mark, mark, mark, mark, mark, mark, mark, mark, f"\x1b[31m{mark}\x1b[0m\n".encode())
    write_run(client, texts)
    pages = 0
    for address, text in links(browser):
        pages += 1
        if address.split("?")[0].endswith(".json"):
            json.loads(text)
            continue
        if "/logs/download" in address:
            continue  # plain text, which browsers save
        assert "49{%" not in text
        if "<" in mark and not mark.startswith("<!--"):
            assert mark not in text, address
        assert 'href="javascript:' not in text
        assert " onmouseover='alert" not in text.replace("&#39;", "")
    assert pages > 15


def test_actions_change_what_they_say(browser: TestClient, client: Client) -> None:
    """A form of this session deletes a finished run, and promotes a model version."""
    run = write_run(client, status=RunStatus.COMPLETED)
    token = form_token(browser)
    promoted = browser.post(
        "/actions/model",
        data={"form_token": token, "model": "model", "version": "1", "stage": "production"},
        headers=OWN,
    )
    assert promoted.status_code == 200
    assert client.get_model_version("model").stage == "production"
    deleted = browser.post(
        "/actions/run", data={"form_token": token, "run": str(run.id), "action": "delete"}, headers=OWN
    )
    assert "Deleted run train-1." in deleted.text
    assert not client.list_pipeline_runs()
