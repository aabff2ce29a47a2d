"""What the pages show, without a browser."""

from __future__ import annotations

import shlex
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from support.dashboards import Texts, links, write_run

from rayform.cli import rayform
from rayform.reading.client import Client
from rayform.reading.filters import parse_filters
from rayform_runtime.catalog.entities import RunStatus
from rayform_server.context import ListState, Place
from rayform_server.steplogs import lines_of, spans


def test_an_empty_stack_has_all_pages(browser: TestClient) -> None:
    """With nothing in the catalog, each page that a link leads to says so."""
    assert len(list(links(browser))) > 6


def test_every_link_of_a_run_leads_somewhere(browser: TestClient, client: Client) -> None:
    """From the overview each page can be reached, and none of the links is dead."""
    run = write_run(client)
    addresses = {address.split("?")[0] for address, _ in links(browser)}
    for tab in ("", "/timeline", "/logs", "/artifacts", "/configuration", "/step", "/graph.json"):
        assert f"/runs/{run.name}{tab}" in addresses
    assert {"/pipeline", "/artifact", "/model", "/stacks"} <= addresses


def test_filters_are_those_of_the_command_line(browser: TestClient, client: Client) -> None:
    """A filtered list shows what the command next to it prints."""
    for number in range(6):
        status = RunStatus.FAILED if number % 2 else RunStatus.COMPLETED
        write_run(client, Texts(run=f"train-{number}"), status)
    answer = browser.get("/runs", params={"filter": ["status=failed", "name~=train"], "sort": "name"})
    assert [answer.text.count(f">train-{n}</a>") for n in range(6)] == [0, 1, 0, 1, 0, 1]
    command = answer.text.split('data-copy="')[1].split('"')[0].replace("&#39;", "'")
    printed = CliRunner().invoke(rayform, shlex.split(command)[1:])
    assert [f"train-{n}" in printed.output for n in range(6)] == [False, True, False, True, False, True]


def test_a_wrong_filter_names_the_nearest_field(browser: TestClient) -> None:
    """The error page says what the command line says."""
    answer = browser.get("/runs", params={"filter": "statsu=failed"})
    assert answer.status_code == 400
    assert "status" in answer.text


@given(
    st.lists(
        st.from_regex(r"[a-z_]{1,8}(=|!=|~=|>=|<)[^\x00\ud800-\udfff]{0,20}", fullmatch=True), max_size=4
    ),
    st.integers(1, 10**6),
)
def test_a_lists_address_is_its_state(filters: list[str], number: int) -> None:
    """Address and command both say the filters as they were written."""
    state = ListState("/runs", "rayform runs list", Place("s", "default"), tuple(filters), "-name", number)
    query = parse_qs(urlsplit(state.address).query, keep_blank_values=True)
    assert query.get("filter", []) == filters
    assert query["stack"] == ["s"]
    words = shlex.split(state.command)
    assert [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--filter"][
        : len(filters)
    ] == filters


def test_a_log_shows_colours_and_nothing_else(browser: TestClient, client: Client) -> None:
    """Colours become classes; other control codes are left out."""
    write_run(client, Texts(log=b"\x1b[31mred\x1b[0m plain \x1b]0;title\x07\x1b[2J\x07end\n"))
    text = browser.get("/runs/train-1/logs").text
    assert '<span class="c1">red</span>' in text
    assert " plain end" in text
    assert "title\x07" not in text
    assert "\x1b" not in text


@given(st.binary(max_size=300))
def test_any_bytes_are_lines_of_text(data: bytes) -> None:
    """No output of a step is too strange for the log view, and no control character is left."""
    for line in lines_of(data):
        for span in spans(line):
            assert not any(ord(char) < 32 and char != "\t" for char in span.text.replace("\n", ""))


def test_a_log_is_searched(browser: TestClient, client: Client) -> None:
    """The search finds lines whatever their case, with their numbers."""
    lines = b"".join(b"line %d %s\n" % (n, b"Needle" if n % 1000 == 7 else b"hay") for n in range(5000))
    write_run(client, Texts(log=lines))
    text = browser.get("/runs/train-1/logs", params={"q": "needle"}).text
    assert [f'<span class="n">{n + 1}</span>' in text for n in (7, 1007, 4007, 8)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_log_is_only_read_where_logs_are(browser: TestClient, client: Client, tmp_path) -> None:
    """A catalog that says that a log is some other file shows nothing of that file."""
    secret = tmp_path / "secret.log"
    secret.write_text("top secret\n")
    run = write_run(client)
    import sqlite3

    database = next((tmp_path / "home").rglob("*.db"))
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE step_runs SET log_uri = ?", (secret.as_uri(),))
    assert "top secret" not in browser.get(f"/runs/{run.name}/logs").text
    assert "top secret" not in browser.get(f"/runs/{run.name}/logs/download").text


def test_filters_parse_as_before() -> None:
    """The language has one parser."""
    assert parse_filters(["status=failed,stopped", "name~=x"]) == {
        "status": ["failed", "stopped"],
        "name": "contains:x",
    }
