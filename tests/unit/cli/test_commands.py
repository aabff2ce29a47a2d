"""What commands print, and how they end, over a seeded stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.seeded_stack import Seeder, seed_training_run

from rayform.cli import main
from rayform.reading.client import Client
from rayform_runtime.catalog.entities import RunStatus, StepError

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(rayform_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in this process and gives its exit code, output and error output."""
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capsys.readouterr()
        code = stopped.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return call


def from_json(cli: Cli, *arguments: str) -> Any:
    code, out, err = cli(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def seeded(client: Client) -> dict[str, Any]:
    """A completed and a failed run, and a model with two versions."""
    version = client.catalog.create_model_version("digits", metadata={"accuracy": 0.91, "rows": 10})
    found = seed_training_run(client, "train-1", model=version.id)
    client.create_model_version("digits", metadata={"accuracy": 0.9312344})
    failed = Seeder(
        client, "a-run-with-a-name-that-is-much-longer-than-any-terminal-is-wide-0123456789-0123456789"
    )
    error = StepError("ValueError", "no rows", "Traceback: line 3\nValueError: no rows")
    failed.step("loader", {}, error=error)
    failed.finish(RunStatus.FAILED, error)
    return found


def test_status_is_seen_at_80_columns(cli: Cli, seeded: dict[str, Any]) -> None:
    """However long names are, each line fits 80 columns and shows the status whole."""
    for arguments, statuses in (
        (("runs", "list"), {"completed", "failed"}),
        (("pipeline", "list"), {"failed"}),
    ):
        code, out, _ = cli(*arguments)
        assert code == 0
        lines = out.splitlines()
        assert all(len(line) <= 80 for line in lines)
        assert {line.split()[0] for line in lines[1:]} == statuses


def test_no_colour_where_no_terminal_reads(
    cli: Cli, seeded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that isn't read on a terminal has no escape codes, unless they are asked for."""
    assert "\x1b" not in cli("runs", "list")[1]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mcompleted" in cli("runs", "list")[1]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli("runs", "list")[1]


def test_lists_have_one_json_shape(cli: Cli, seeded: dict[str, Any]) -> None:
    """Every list is `items`, `page`, `size`, `total`; -o json says the same."""
    for arguments in (
        ["runs", "list"],
        ["pipeline", "list"],
        ["artifact", "list"],
        ["artifact", "versions"],
        ["model", "list"],
        ["model", "versions", "digits"],
        ["stack", "list"],
        ["profile", "list"],
        ["flavor", "list"],
        ["catalog", "list"],
    ):
        found = from_json(cli, *arguments)
        assert list(found) == ["items", "page", "size", "total"], arguments
        assert found["total"] == len(found["items"]) > 0, arguments
        assert json.loads(cli(*arguments, "-o", "json")[1]) == found


def test_runs_list_json_schema(cli: Cli, seeded: dict[str, Any]) -> None:
    """The fields of a listed run are those that programs rely on."""
    (run,) = from_json(cli, "runs", "list", "--filter", "status=completed")["items"]
    assert set(run) == {
        "id", "name", "pipeline", "status", "stack_name", "created_at", "started_at", "ended_at", "heartbeat_at",
        "parameters", "tags", "user", "host", "error", "model_version_id", "orchestrator_id",
    }  # fmt: skip
    assert (run["name"], run["parameters"]) == ("train-1", {"epochs": 3})


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["status=failed"], 1),
        (["status=failed,completed"], 2),
        (["status!=failed"], 1),
        (["name~=train"], 1),
        (["tag=nightly"], 2),
        (["created_at>2000-01-01"], 2),
        (["created_at<=2000-01-01"], 0),
        (["pipeline=train", "status=completed"], 1),
    ],
)
def test_filters(cli: Cli, seeded: dict[str, Any], filters: list[str], names: int) -> None:
    """Filters compare as they are written."""
    arguments = [part for text in filters for part in ("--filter", text)]
    assert from_json(cli, "runs", "list", *arguments)["total"] == names


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["runs", "list", "--filter", "staus=x"], 2, "status"),
        (["runs", "list", "--filter", "status"], 2, "key=value"),
        (["runs", "list", "--filter", "status=a", "--filter", "status=b"], 2, "twice"),
        (["runs", "list", "--page", "0"], 2, "--page"),
        (["runs", "list", "--sort", "nam"], 2, "name"),
        (["runs", "describe", "train-2"], 3, "train-1"),
        (["runs", "resume", "train-1"], 4, "completed"),
        (["runs", "delete", "train-1"], 2, "--yes"),
        (["runs", "logs", "train-1", "loadr"], 3, "loader"),
        (["artifact", "describe", "rport"], 3, "report"),
        (["artifact", "update", "report"], 2, "--add-tag"),
        (["artifact", "delete", "data", "-y"], 4, "--force"),
        (["model", "promote", "digits", "9", "production"], 3, "9"),
        (["model", "promote", "digits", "1", "prod"], 2, "production"),
        (["stack", "set", "defalt"], 3, "default"),
        (["stack", "delete", "default", "-y"], 2, "built in"),
        (["stak"], 2, "stack"),
        (["runs", "lst"], 2, "list"),
        (["runs", "list", "--stack", "prod"], 3, "prod"),
        (["catalog", "register", "x", "--flavor", "sqlit", "--path", "/x"], 3, "sqlite"),
        (["catalog", "register", "x", "--flavor", "sqlite", "--pat", "/x"], 2, "--path"),
        (["catalog", "register", "x", "--flavor", "sqlite", "stray"], 2, "stray"),
        (["artifact-store", "register", "../x", "--flavor", "local", "--path", "/tmp/x"], 2, "name"),
        (["profile", "set", "wrk"], 3, "wrk"),
        (["profile", "delete", "default", "-y"], 2, "built in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_name_what_to_do_and_end_with_their_code(
    cli: Cli, seeded: dict[str, Any], arguments: list[str], code: int, said: str
) -> None:
    """Each wrong call ends with its documented code, says so on standard error, and changes nothing."""
    before = (
        from_json(cli, "runs", "list"),
        from_json(cli, "artifact", "versions"),
        from_json(cli, "stack", "list"),
    )
    found, out, err = cli(*arguments)
    assert found == code
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    after = (
        from_json(cli, "runs", "list"),
        from_json(cli, "artifact", "versions"),
        from_json(cli, "stack", "list"),
    )
    assert after == before


def test_describe_a_run(cli: Cli, seeded: dict[str, Any]) -> None:
    """A run shows its steps; a failed one also the user's traceback and how to continue."""
    _, out, _ = cli("runs", "describe", "train-1")
    assert "score[2]" in out
    failed = from_json(cli, "runs", "list", "--filter", "status=failed")["items"][0]
    _, out, _ = cli("runs", "describe", failed["id"])
    assert "ValueError: no rows" in out
    assert "rayform runs resume" in out
    described = from_json(cli, "runs", "describe", "train-1")
    assert [s["key"] for s in described["steps"]] == ["loader", "trainer", "score", "score", "score"]
    assert described["spec"]["name"] == "train"


def test_logs(cli: Cli, seeded: dict[str, Any]) -> None:
    """Logs are printed under their step's name, or alone if one step is named; -f ends with the run."""
    assert (
        cli("runs", "logs", "train-1")[1] == "loader | loading\nloader | loaded 3 rows\ntrainer | epoch 1\n"
    )
    assert cli("runs", "logs", "train-1", "trainer")[1] == "epoch 1\n"
    assert cli("runs", "logs", "-f", "train-1", "loader")[1] == "loading\nloaded 3 rows\n"


def test_logs_say_why_a_step_failed(cli: Cli, seeded: dict[str, Any]) -> None:
    """The log of a failed step ends with its traceback, under its name where all are printed."""
    failed = from_json(cli, "runs", "list", "--filter", "status=failed")["items"][0]
    broken = next(s for s in from_json(cli, "runs", "describe", failed["id"])["steps"] if s["error"])
    assert f"{broken['key']} | ValueError: no rows" in cli("runs", "logs", failed["id"])[1].splitlines()
    assert cli("runs", "logs", failed["id"], broken["key"])[1].splitlines()[-1] == "ValueError: no rows"


def test_text_that_no_encoding_has_ends_no_command(cli: Cli, client: Client) -> None:
    """Half a surrogate pair in a recorded error or in metadata is shown escaped, and as itself in JSON."""
    failed = Seeder(client, "odd")
    error = StepError("ValueError", "bad \udc80", "Traceback: line 3\nValueError: bad \udc80")
    failed.step("loader", {}, error=error)
    client.catalog.log_metadata("run", failed.run.id, {"k": "\ud83d", "é": 1})
    failed.finish(RunStatus.FAILED, error)
    for command in ("logs", "follow", "describe"):
        assert "ValueError: bad \\udc80\n" in cli("runs", command, "odd")[1]
    described = from_json(cli, "runs", "describe", "odd")
    assert described["error"]["message"] == "bad \udc80"
    assert described["metadata"] == {"k": "\ud83d", "é": 1}
    assert from_json(cli, "runs", "list")["total"] == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has this device")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [("runs", "logs", "train-1"), ("runs", "list", "--json"), ("--help",)])
def test_output_that_cannot_be_written_is_told_in_one_line(
    seeded: dict[str, Any], command: tuple[str, ...], unbuffered: str
) -> None:
    """A full disk where the output goes ends a command with what to do, not with a traceback."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "rayform.cli", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            timeout=60,
        )
    assert ended.returncode == 5
    assert ended.stderr.splitlines()[:2] == [
        "Error: The output can't be written.",
        "  Why:  No space left on device",
    ]
    assert len(ended.stderr.splitlines()) == 3


def test_follow_ends_with_the_runs_own_code(cli: Cli, seeded: dict[str, Any]) -> None:
    """Following a completed run ends with 0, a failed one with 1."""
    code, out, _ = cli("runs", "follow", "train-1")
    assert code == 0
    assert "trainer: completed" in out
    failed = from_json(cli, "runs", "list", "--filter", "status=failed")["items"][0]["name"]
    assert cli("runs", "follow", failed)[0] == 1


def test_killed_run_is_shown_as_interrupted(cli: Cli, client: Client) -> None:
    """A run whose process is gone is `interrupted` in the next list."""
    from rayform_core.ids import new_id
    from rayform_runtime.catalog.entities import NewRun
    from rayform_runtime.processes.identity import process_started, this_host

    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_started(process.pid)
    client.catalog.create_run(
        NewRun(
            id=new_id(),
            name="killed",
            pipeline="p",
            spec={},
            stack_name="default",
            stack={},
            host=this_host(),
            pid=process.pid,
            pid_started=started,
        )
    )
    assert from_json(cli, "runs", "list")["items"][0]["status"] == "running"
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    assert client.get_pipeline_run("killed").status == "interrupted"
    assert from_json(cli, "runs", "list")["items"][0]["status"] == "interrupted"


def test_models_are_promoted_and_compared(cli: Cli, seeded: dict[str, Any]) -> None:
    """Promotion moves stages and keeps the history; compare puts metadata side by side."""
    assert "none → production" in cli("model", "promote", "digits", "1", "production")[1]
    code, _, err = cli("model", "promote", "digits", "2", "production")
    assert (code, "`--force`" in err, "force=True" in err) == (4, True, True)
    assert cli("model", "promote", "digits", "2", "production", "--force")[0] == 0
    assert "archived" in cli("model", "describe", "digits")[1]
    _, out, _ = cli("model", "compare", "digits", "1", "production")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert rows == {
        "stage": ["archived", "production"],
        "accuracy": ["0.91", "0.931234"],
        "rows": ["10", "-"],
    }
    compared = from_json(cli, "model", "compare", "digits", "1", "2")
    assert [v["metadata"]["accuracy"] for v in compared["versions"]] == [0.91, 0.9312344]
    assert cli("model", "delete", "digits", "2", "-y")[0] == 4
    assert cli("model", "delete", "digits", "1", "-y")[0] == 0
    assert cli("model", "update", "digits", "--description", "reads digits", "--add-tag", "vision")[0] == 0
    assert "reads digits" in cli("model", "describe", "digits")[1]


def test_artifact_lineage_in_every_form(cli: Cli, seeded: dict[str, Any]) -> None:
    """Lineage comes as a tree, JSON, Graphviz and Mermaid."""
    _, tree, _ = cli("artifact", "lineage", "model")
    assert "made by step trainer(rate=0.1) in run train-1" in tree
    assert "went into step score" in tree
    found = from_json(cli, "artifact", "lineage", "model")
    assert set(found) == {"root", "versions", "step_runs", "runs", "edges"}
    assert found["root"] == str(seeded["model"].id)
    assert cli("artifact", "lineage", "model", "--graphviz")[1].startswith("digraph")
    assert cli("artifact", "lineage", "model", "--mermaid")[1].startswith("flowchart LR")
    _, upstream, _ = cli("artifact", "lineage", "model", "--no-downstream")
    assert "went into" not in upstream


def test_artifact_download_update_delete(cli: Cli, seeded: dict[str, Any], tmp_path: Path) -> None:
    """An artifact's files are copied, its tags changed, and it is deleted with its data."""
    target = tmp_path / "out"
    assert cli("artifact", "download", "report", str(target))[0] == 0
    assert cli("artifact", "download", "report", str(target))[0] == 4
    assert cli("artifact", "update", "report", "--add-tag", "x", "--name", "summary")[0] == 0
    described = from_json(cli, "artifact", "describe", "summary")
    assert described["tags"] == ["x"]
    assert cli("artifact", "delete", "summary", "-y", "--force")[0] == 0
    assert cli("artifact", "describe", "summary")[0] == 3


def test_prune_shows_before_it_asks(cli: Cli, client: Client) -> None:
    """Prune lists what would go, asks first without --yes, and then removes exactly that."""
    from rayform.artifacts import save_artifact

    seed_training_run(client)
    loose = save_artifact("loose", "loose")
    code, out, err = cli("artifact", "prune", "--older-than", "0")
    assert code == 2
    assert "loose" in out
    assert "--yes" in err
    assert loose.load() == "loose"
    planned = from_json(cli, "artifact", "prune", "--older-than", "0", "--dry-run")
    assert [v["name"] for v in planned["versions"]] == ["loose"]
    assert planned["removed"] is False
    code, out, _ = cli("artifact", "prune", "--older-than", "0", "-y")
    assert code == 0
    assert "Removed 1 versions" in out
    assert "nothing to prune" in cli("artifact", "prune", "--older-than", "0", "-y")[1]


def test_stacks_from_register_to_delete(cli: Cli, tmp_path: Path) -> None:
    """A stack is registered from components, switched to, pinned, exported, imported and deleted."""
    database = tmp_path / "c.db"
    assert cli("catalog", "register", "second", "--flavor", "sqlite", "--path", str(database))[0] == 0
    assert cli("stack", "register", "s2", "-m", "second", "--set")[0] == 0
    assert cli("stack", "get")[1] == "s2\n"
    assert from_json(cli, "stack", "describe")["components"]["catalog"]["config"] == {"path": str(database)}
    assert cli("catalog", "delete", "second", "-y")[0] == 4
    assert cli("stack", "set", "default", "--here")[0] == 0
    assert from_json(cli, "stack", "get")["source"].endswith("config.yaml")
    exported = tmp_path / "s2.yaml"
    assert cli("stack", "export", "s2", str(exported))[0] == 0
    assert cli("stack", "import", str(exported), "--yes")[0] == 4
    assert cli("stack", "import", str(exported), "--name", "s3", "--yes")[0] == 0
    assert cli("stack", "update", "s3", "-m", "default")[0] == 0
    assert cli("stack", "rename", "s3", "s4")[0] == 0
    assert cli("stack", "copy", "s4", "s5")[0] == 0
    assert cli("stack", "export-requirements", "s5")[1].startswith("rayform==")
    assert cli("stack", "delete", "s4", "-y")[0] == 0
    assert [s["name"] for s in from_json(cli, "stack", "list")["items"]] == ["default", "s2", "s5"]
    assert cli("catalog", "check", "second")[0] == 0
    assert cli("catalog", "update", "second", "--path", str(tmp_path / "d.db"))[0] == 0


def test_registration_reaches_the_component_first(cli: Cli, tmp_path: Path) -> None:
    """A component that can't be used isn't registered, unless the check is skipped."""
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    arguments = ["artifact-store", "register", "bad", "--flavor", "local", "--path", str(blocker / "store")]
    code, _, err = cli(*arguments)
    assert code == 5
    assert str(blocker) in err
    assert [c["name"] for c in from_json(cli, "artifact-store", "list")["items"]] == ["default"]
    assert cli(*arguments, "--skip-check")[0] == 0
    assert cli("artifact-store", "check", "bad")[0] == 5


def test_info_shows_no_secret(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`info` shows versions and paths, and no variable that may hold a secret."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    monkeypatch.setenv("RAYFORM_SOME_PASSWORD", "sesame")
    code, out, _ = cli("info")
    assert code == 0
    assert "sesame" not in out
    facts = from_json(cli, "info")
    assert facts["stack"] == "default"
    assert facts["packages"]["pydantic"]
    assert from_json(cli, "version")["version"] == facts["rayform"]


def test_completion_scripts(cli: Cli) -> None:
    """A completion script is printed for each shell."""
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = cli("completion", shell)
        assert code == 0
        assert "_RAYFORM_COMPLETE" in out


def test_empty_lists_say_so_on_standard_error(cli: Cli) -> None:
    """Nothing to list is no error, and standard output stays empty for programs that read it."""
    assert cli("runs", "list") == (0, "", "No runs.\n")
    assert from_json(cli, "runs", "list") == {"items": [], "page": 1, "size": 20, "total": 0}


def test_a_deleted_folder_is_told(
    cli: Cli, seeded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that needs the current folder says that it's gone, without a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, err = cli("artifact", "download", "report", "here")
    assert code == 5
    assert "current folder was deleted" in err


def test_errors_of_several_lines_are_indented(cli: Cli, tmp_path: Path) -> None:
    """What a broken script says stands below its title; a script that ends itself says so."""
    script = tmp_path / "broken.py"
    script.write_text("import sys\nsys.exit(3)\n")
    code, _, err = cli("run", str(script))
    assert code == 1
    lines = err.splitlines()
    why = next(i for i, line in enumerate(lines) if line.startswith("  Why:"))
    assert "SystemExit: 3" in err
    assert all(line.startswith("        ") for line in lines[why + 1 : -1])


def test_profiles_show_their_targets(cli: Cli, rayform_home: Path) -> None:
    """The list of profiles says where the stacks of each are deployed, also where one's file is corrupt."""
    assert cli("profile", "create", "cloudy", "--set")[0] == 0
    assert cli("profile", "target", "localstack")[0] == 0
    assert {row["name"]: row["target"] for row in from_json(cli, "profile", "list")["items"]} == {
        "default": None,
        "cloudy": "localstack",
    }
    shown = cli("profile", "list")[1]
    assert "localstack" in shown and "aws (not set)" in shown
    assert cli("profile", "set", "default")[0] == 0
    (rayform_home / "profiles" / "cloudy" / "profile.yaml").write_text("{")
    code, out, err = cli("profile", "list")
    assert (code, "cloudy" in out, "Profile 'cloudy' can't be read" in err) == (0, True, True)
