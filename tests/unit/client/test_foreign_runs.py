"""What a hostile row of the catalog can't do: run code again, show a file of this machine, reach a notebook's page."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayform import Client, stacks
from rayform.artifacts import save_artifact
from rayform.launching.resume import resume_run
from rayform.launching.run_consent import UntrustedRunError, refuse_untrusted, signed
from rayform.launching.spin import spin_step
from rayform.reading import visualizations
from rayform_core.errors import IntegrityError, NotFoundError
from rayform_core.ids import new_id
from rayform_core.machine_key import is_signed, sign
from rayform_runtime.artifacts.trust import UntrustedError
from rayform_runtime.catalog.entities import NewRun, RunStatus, Visualization
from rayform_runtime.execution.worker.logs import local_log_path, log_key, read_log
from rayform_runtime.spec import PipelineSpec, SourceRef, StepSpec

_ID = "01a21d7e-e9af-7009-aebf-6ca26af68450"


def hostile_spec(**source: Any) -> PipelineSpec:
    """Return a pipeline whose one step calls a function of choice."""
    ref = SourceRef(**{"module": "os", "qualname": "system", **source})
    return PipelineSpec(name="p", source=ref, steps=[StepSpec(key="s", name="s", source=ref)])


def failed_run(client: Client, spec: PipelineSpec, run_id: Any = None) -> Any:
    """Write the row of a run that ended."""
    id = run_id or new_id()
    stack = client.active_stack_model
    client.catalog.create_run(
        NewRun(id=id, name=f"run-{id}", pipeline="p", spec=spec.model_dump(mode="json"), stack_name=stack.name,
               stack=stack.model_dump(mode="json"), user="mallory", host="elsewhere")
    )  # fmt: skip
    client.catalog.finish_run(id, RunStatus.FAILED)
    return client.get_pipeline_run(id)


@pytest.mark.parametrize("source", [{}, {"pickled": "gASVIQAAAAAAAACM"},
                                    {"file": "/tmp/evil.py", "module": "evil"}])  # fmt: skip
def test_foreign_runs_run_no_code(client: Client, source: dict[str, str]) -> None:
    """A run that wasn't begun here is neither resumed nor spun; nothing of it is imported or put on the path."""
    spec = hostile_spec(**source).model_copy(update={"code_root": "/tmp/evil-root", "import_paths": ["."]})
    run = failed_run(client, spec)
    loaded = set(sys.modules)
    with pytest.raises(UntrustedRunError, match="mallory"):
        resume_run(client, run)
    with pytest.raises(UntrustedRunError):
        spin_step(run, "s", client.active_stack)
    assert "/tmp/evil-root" not in sys.path
    assert not {name for name in set(sys.modules) - loaded if not name.startswith("rayform")} & {"evil"}


def test_a_signature_fits_one_run_as_it_began(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began here is trusted; a changed one, one under another ID, and one of another home aren't."""
    id = new_id()
    spec = signed(hostile_spec(), id)
    run = failed_run(client, spec, id)
    stored = PipelineSpec.model_validate(run.config)
    refuse_untrusted(run, stored, is_trusted=False)
    changed = stored.model_copy(update={"code_root": "/tmp/evil"})
    other = failed_run(client, spec)
    for each, config in (
        (run, changed),
        (other, stored),
        (run, stored.model_copy(update={"signature": "0" * 64})),
    ):
        with pytest.raises(UntrustedRunError):
            refuse_untrusted(each, config, is_trusted=False)
        refuse_untrusted(each, config, is_trusted=True)
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "colleague"))
    with pytest.raises(UntrustedRunError):
        refuse_untrusted(run, stored, is_trusted=False)


def test_a_stack_is_trusted_by_its_own_setting(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stack update --trusted` lets a stack's pickles load here; an export and an import don't carry it along."""
    from rayform.materializers import CloudpickleMaterializer

    stacks.register_stack("team")
    saved = save_artifact({1, 2}, "pickled", materializer=CloudpickleMaterializer)
    monkeypatch.setattr("rayform_core.machine_key._keys", {})
    (client_key,) = Path(os.environ["RAYFORM_HOME"]).glob("machine.key")
    client_key.unlink()  # from here, the value is one of another machine
    with pytest.raises(UntrustedError):
        Client("team").get_artifact_version(saved.id).load()
    assert Client("team").get_artifact_version(saved.id).load(trust_pickle=True) == {1, 2}
    stacks.update_stack("team", trusted=True)
    assert Client("team").get_artifact_version(saved.id).load() == {1, 2}
    assert '"is_trusted"' not in stacks.get_stack("default").model_dump_json()
    stacks.update_stack("team", trusted=False)
    with pytest.raises(UntrustedError):
        Client("team").get_artifact_version(saved.id).load()


def test_the_machines_key_is_private(rayform_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key has the mode 0600; one that others could read or replace, or that is a link, signs nothing."""
    signature = sign("a", "bc")
    path = rayform_home / "machine.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_signed(signature, "a", "bc")
    assert not is_signed(signature, "ab", "c")
    assert not is_signed(signature, "a", "bc", "")
    assert not is_signed("", "a", "bc")
    for spoil in (lambda: path.chmod(0o644), lambda: path.write_bytes(b"short"), path.unlink):
        monkeypatch.setattr("rayform_core.machine_key._keys", {})
        spoil()
        assert not is_signed(signature, "a", "bc")
        path.chmod(0o600) if path.exists() else None
    real = rayform_home / "other.key"
    real.write_bytes(bytes(32))
    real.chmod(0o600)
    path.symlink_to(real)
    assert sign("a") == ""


# -- logs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["secret.txt", "logs/secret.log", f"logs/{_ID}/{_ID}.log"])
def test_a_log_is_no_other_file(client: Client, tmp_path: Path, name: str) -> None:
    """A row's `log_uri` shows logs of this user's runs, and no other file of the machine or the store."""
    secret = tmp_path / name
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_text("secret")
    store = client.artifact_store
    store.put_bytes("code/private.txt", b"secret")
    up = "/".join([".."] * 12)
    home = local_log_path(new_id(), new_id())
    for uri in (
        secret.as_uri(), f"file://localhost{secret}", f"file:{secret}", f"{home.parent.as_uri()}/{up}{secret}",
        f"{store.uri}/code/private.txt", f"{store.uri}/{up}{secret}", f"{store.uri}/logs/{up}{secret}",
        f"{store.uri}/logs/%2e%2e/code/private.txt", "http://x/y", "", "file://[", str(secret),
        "logs/../code/private.txt",
    ):  # fmt: skip
        try:
            content = read_log(uri, store)
        except NotFoundError:
            continue
        assert b"secret" not in content, uri


def test_a_log_is_not_read_through_a_link(client: Client, tmp_path: Path) -> None:
    """A link in the folder of logs doesn't lead out of it; logs of this machine and the store are read."""
    (tmp_path / "secret.txt").write_text("secret")
    path = local_log_path(new_id(), new_id())
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(NotFoundError):
        read_log(path.as_uri(), client.artifact_store)
    path.unlink()
    path.write_text("mine")
    assert read_log(path.as_uri(), client.artifact_store) == b"mine"
    uri = client.artifact_store.put_bytes(log_key(new_id(), new_id()), b"stored")
    assert read_log(uri, client.artifact_store) == b"stored"


# -- visualizations -----------------------------------------------------------------------------------------------


def drawn(client: Client, name: str, content: str | bytes) -> Any:
    """Save a value with a picture and return its record."""
    return save_artifact("value", "shown", visualizations={name: content}).record


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "value.txt", "", ".", "visualizations/../../../x",
                                  "visualizations", "visualizations/missing.html", "\0"])  # fmt: skip
def test_a_visualization_is_one_of_the_artifact(client: Client, path: str) -> None:
    """A row that names any other file as a picture shows nothing."""
    record = drawn(client, "a.html", "<b>hi</b>")
    hostile = replace(record, visualizations=(Visualization("a.html", "html", path),))
    with pytest.raises(IntegrityError):
        visualizations.read(hostile, client.artifact_store)


def test_the_catalog_keeps_the_digests_of_pictures(client: Client) -> None:
    """A picture that was exchanged in the store, together with its manifest, isn't shown."""
    record = drawn(client, "a.html", "<b>hi</b>")
    assert len(record.visualizations[0].digest) == 64
    assert visualizations.read(record, client.artifact_store)["a.html"] == ("html", "<b>hi</b>")
    other = drawn(client, "a.html", "<script>evil()</script>")
    assert other.digest == record.digest
    with pytest.raises(IntegrityError, match="isn't what was committed"):
        visualizations.read(replace(other, visualizations=record.visualizations), client.artifact_store)


class _Display:
    """Stands in for IPython.display, which needs a kernel."""

    def __getattr__(self, name: str) -> Any:
        return lambda data="", **options: (name, data)


@pytest.mark.parametrize(
    "kind, name",
    [("html", "a.html"), ("markdown", "a.md"), ("image", "a.svg"), ("json", "a.json"), ("csv", "a.csv")],
)
def test_a_notebooks_page_gets_no_markup(kind: str, name: str) -> None:
    """HTML and Markdown are shown in a sandboxed frame, SVG as an image, and the rest as text."""
    hostile = (
        "\"'><script>parent.evil()</script><svg onload=evil()>[x](javascript:evil())</iframe>"
        "<img src=x onerror=evil()>"
    )
    shown, markup = visualizations._shown(_Display(), kind, f'{name}"><script>evil()</script>', hostile)
    if shown == "HTML":
        assert "<script" not in markup
        assert markup.count("<") == (2 if "<iframe" in markup else 1)
        assert "allow-same-origin" not in markup
        assert 'sandbox="allow-scripts"' in markup or 'src="data:image/svg+xml;base64,' in markup
    else:
        assert kind in ("json", "csv")


def test_rows_of_other_shapes_are_no_tracebacks() -> None:
    """Text in the catalog that isn't what Rayform writes is an error of Rayform, or nothing."""
    from rayform_runtime.catalog.metadata import decode_json
    from rayform_runtime.catalog.sql.rows import decode_visualizations

    for text in ("[" * 100_000, "{", "nonsense"):
        with pytest.raises(IntegrityError):
            decode_json(text)
    for entries in ([1], [["a"]], {"a": 1}, [["a", "b", 3]], [["a", "b", "c", "d", "e"]]):
        assert decode_visualizations(json.dumps(entries)) == ()
