"""What every catalog does with artifacts, their versions, metadata, tags and models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.catalogs import CatalogMaker, Scene

from rayform_core.errors import ConflictError, NotFoundError, UsageError
from rayform_core.ids import new_id
from rayform_runtime.catalog.entities import ModelStage, Query, RunStatus, Subject
from rayform_runtime.catalog.metadata import DType, Path, StorageSize, Uri
from rayform_runtime.catalog.sql.catalog import SQLCatalog


def test_versions_are_numbered_from_one(scene: Scene, catalog: SQLCatalog) -> None:
    """Each artifact counts its own versions, and the latest is found by name."""
    assert [scene.saved("a").number for _ in range(3)] == [1, 2, 3]
    assert scene.saved("b").version == "1"
    assert catalog.get_artifact_version("a").number == 3
    assert catalog.get_artifact_version("a", "latest").number == 3
    assert catalog.get_artifact_version("a", 2) == catalog.get_artifact_version("a", "2")
    assert catalog.get_artifact("a").latest_version == "3"


def test_a_chosen_version_stands_beside_the_numbers(scene: Scene, catalog: SQLCatalog) -> None:
    """A version that a user names takes no number, becomes the latest, and is refused a second time."""
    scene.saved("a")
    named = scene.saved("a", version="gold")
    assert (named.version, named.number) == ("gold", None)
    assert catalog.get_artifact_version("a").id == named.id
    assert scene.saved("a").number == 2
    with pytest.raises(ConflictError, match="version 'gold' already") as caught:
        scene.saved("a", version="gold")
    assert str(named.id) in str(caught.value)
    assert catalog.get_artifact("a").latest_version == "2"
    assert catalog.list_artifact_versions().total == 3


def test_numbers_go_on_after_a_chosen_number(scene: Scene, catalog: SQLCatalog) -> None:
    """After a version that a user named "7" the next number is 8, so the two never collide."""
    scene.saved("a", version="7")
    assert scene.saved("a").number == 8
    run = scene.run()
    start = scene.start(run)
    from rayform_runtime.catalog.entities import StepFinish, StepStatus

    outputs = [scene.version("a"), scene.version("a", version="20"), scene.version("a")]
    made = catalog.finish_steps(
        [StepFinish(id=start.id, run_id=run.id, status=StepStatus.COMPLETED, outputs=outputs)]
    )[0]
    assert [version.version for version in made] == ["21", "20", "22"]
    assert catalog.get_artifact("a").latest_version == "22"
    scene.saved("a", version="9" * 30)
    assert scene.saved("a").number == 23


def test_a_number_is_never_used_again(scene: Scene, catalog: SQLCatalog) -> None:
    """Deleting the latest version doesn't free its number."""
    catalog.delete_artifact_versions([scene.saved("a").id, scene.saved("a").id])
    assert scene.saved("a").number == 3


@pytest.mark.parametrize("version", ["latest", "", "a\tb"])
def test_versions_that_would_confuse_are_refused(scene: Scene, version: str) -> None:
    """A version can't be named `latest`, nothing, or text that can't be typed."""
    with pytest.raises(UsageError):
        scene.saved("a", version=version)


def test_saving_the_same_version_twice_is_one(scene: Scene, catalog: SQLCatalog) -> None:
    """Recording the same ID again returns the same version; an ID of another artifact is a conflict."""
    new = scene.version("a")
    first = catalog.create_artifact_version(new)
    assert catalog.create_artifact_version(new) == first
    with pytest.raises(ConflictError):
        catalog.create_artifact_version(scene.version("b", id=new.id))
    assert catalog.list_artifact_versions().total == 1


def test_versions_are_found_by_id_and_prefix(scene: Scene, catalog: SQLCatalog) -> None:
    """A version is found by its UUID, as text, and by the start of it."""
    version = scene.saved("a", metadata={"n": 1}, tags=["t"])
    for ref in (version.id, str(version.id), version.id.hex, str(version.id)[:-3]):
        assert catalog.get_artifact_version(ref) == version
    assert catalog.get_artifact_versions([version.id, new_id()]) == {version.id: version}
    assert catalog.get_artifact(version.artifact_id).name == "a"


def test_unknown_versions_name_their_neighbours(scene: Scene, catalog: SQLCatalog) -> None:
    """The error of a wrong name or version lists the nearest ones."""
    scene.saved("digits_model", version="gold")
    with pytest.raises(NotFoundError, match="digits_model"):
        catalog.get_artifact_version("digit_model")
    with pytest.raises(NotFoundError, match="gold"):
        catalog.get_artifact_version("digits_model", "golt")
    with pytest.raises(NotFoundError):
        catalog.get_artifact_version(new_id())
    with pytest.raises(NotFoundError):
        catalog.get_artifact_version("ffffffff")


def test_typed_metadata_comes_back_as_it_was(scene: Scene, catalog: SQLCatalog) -> None:
    """Every type of metadata survives the database."""
    metadata = {
        "int": 2**70,
        "float": 0.1,
        "inf": float("-inf"),
        "text": "naïve \0 東京",
        "none": None,
        "list": [1, [True], {"a": None}],
        "tuple": (1, "x"),
        "set": {1, 2},
        "dict": {"$type": "size", "value": 3},
        "aware": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "naive": datetime(2026, 1, 2),
        "duration": timedelta(days=2, microseconds=5),
        "uri": Uri("https://x.example/1"),
        "path": Path("/data"),
        "dtype": DType("float32"),
        "size": StorageSize(2048),
        'odd "key\\': 1,
    }
    version = scene.saved("a", metadata=metadata)
    stored = catalog.get_artifact_version(version.id).metadata
    assert stored == metadata
    assert {key: type(value) for key, value in stored.items()} == {
        key: type(value) for key, value in metadata.items()
    }


@pytest.mark.parametrize("subject", [s for s in Subject if s != Subject.STEP_RUN])
def test_metadata_and_tags_go_on_everything(scene: Scene, catalog: SQLCatalog, subject: Subject) -> None:
    """Metadata merges by key, tags are added and removed, on each kind of subject."""
    run = scene.run()
    version = scene.saved("a")
    model_version = catalog.create_model_version("m")
    id = {
        Subject.RUN: run.id,
        Subject.ARTIFACT: version.artifact_id,
        Subject.ARTIFACT_VERSION: version.id,
        Subject.MODEL: model_version.model_id,
        Subject.MODEL_VERSION: model_version.id,
    }[subject]
    catalog.log_metadata(subject, id, {"a": 1, "b": [1]})
    catalog.log_metadata(subject, id, {"b": {"c": 2}, "d": None})
    assert catalog.update_tags(subject, id, add=["x", "y", "x"]) == ("x", "y")
    assert catalog.update_tags(subject, id, add=["z"], remove=["y", "nope"]) == ("x", "z")
    entity = {
        Subject.RUN: lambda: catalog.get_run(run.id),
        Subject.ARTIFACT: lambda: catalog.get_artifact("a"),
        Subject.ARTIFACT_VERSION: lambda: catalog.get_artifact_version(version.id),
        Subject.MODEL: lambda: catalog.get_model("m"),
        Subject.MODEL_VERSION: lambda: catalog.get_model_version("m"),
    }[subject]()
    assert entity.metadata == {"a": 1, "b": {"c": 2}, "d": None}
    assert entity.tags == ("x", "z")
    lists = {
        Subject.RUN: catalog.list_runs,
        Subject.ARTIFACT: catalog.list_artifacts,
        Subject.ARTIFACT_VERSION: catalog.list_artifact_versions,
        Subject.MODEL: catalog.list_models,
        Subject.MODEL_VERSION: catalog.list_model_versions,
    }[subject]
    assert [item.id for item in lists(Query(filters={"tag": ["x", "z"], "metadata.a": 1})).items] == [id]  # type: ignore[attr-defined]
    assert lists(Query(filters={"tag": ["x", "y"]})).total == 0
    with pytest.raises(NotFoundError):
        catalog.log_metadata(subject, new_id(), {"a": 1})
    with pytest.raises(NotFoundError):
        catalog.update_tags(subject, new_id(), add=["a"])


def test_metadata_that_cannot_be_kept_changes_nothing(scene: Scene, catalog: SQLCatalog) -> None:
    """The error of a value of an unknown type names key and type, and nothing is stored."""
    version = scene.saved("a", metadata={"kept": 1})
    with pytest.raises(UsageError, match="'model'.*'builtins.object'"):
        catalog.log_metadata(Subject.ARTIFACT_VERSION, version.id, {"fine": 1, "model": object()})
    assert catalog.get_artifact_version(version.id).metadata == {"kept": 1}


def test_lists_leave_metadata_out_unless_asked(scene: Scene, catalog: SQLCatalog) -> None:
    """Lists show tags, and metadata only with `hydrate`."""
    scene.saved("a", metadata={"n": 1}, tags=["t"])
    assert catalog.list_artifact_versions().items[0].metadata == {}
    assert catalog.list_artifact_versions().items[0].tags == ("t",)
    assert catalog.list_artifact_versions(Query(hydrate=True)).items[0].metadata == {"n": 1}
    scene.run()
    assert catalog.list_runs().items[0].spec == {}
    assert catalog.list_runs(Query(hydrate=True)).items[0].spec == {"name": "training", "steps": [1, 2]}


def test_pages_never_overlap(scene: Scene, catalog: SQLCatalog) -> None:
    """Walking the pages of a list shows each item once, newest first."""
    made = [scene.saved("a").id for _ in range(7)]
    seen = []
    for page in (1, 2, 3, 4):
        listed = catalog.list_artifact_versions(Query(size=3, page=page))
        assert listed.total == 7 and listed.pages == 3
        seen += [item.id for item in listed.items]
    assert seen == made[::-1]
    ascending = catalog.list_artifact_versions(Query(order="created_at", size=100))
    assert [item.id for item in ascending.items] == made


def test_renaming_an_artifact_takes_its_versions_along(scene: Scene, catalog: SQLCatalog) -> None:
    """Versions follow their artifact's name; a taken name is a conflict."""
    version = scene.saved("old")
    scene.saved("taken")
    assert catalog.rename_artifact(version.artifact_id, "new").name == "new"
    assert catalog.get_artifact_version("new").id == version.id
    with pytest.raises(ConflictError):
        catalog.rename_artifact(version.artifact_id, "taken")
    with pytest.raises(NotFoundError):
        catalog.rename_artifact(new_id(), "x")


def test_what_a_run_at_work_made_is_not_deleted(scene: Scene, catalog: SQLCatalog) -> None:
    """A version stays, unless forced, while the run that made it is running: its next step may need it."""
    run = scene.run("busy")
    _, (made,) = scene.step(run)
    with pytest.raises(ConflictError, match="run 'busy', which is running"):
        catalog.delete_artifact_versions([made.id])
    catalog.finish_run(run.id, RunStatus.COMPLETED)
    catalog.delete_artifact_versions([made.id])
    assert catalog.get_artifact_versions([made.id]) == {}


def test_versions_in_use_are_not_deleted(scene: Scene, catalog: SQLCatalog) -> None:
    """Without force, neither a step's input nor a version of a model is deleted, and nothing else either."""
    run = scene.run("busy")
    free, used, linked = scene.saved("free"), scene.saved("used"), scene.saved("linked")
    scene.step(run, inputs={"x": [used.id]})
    model = catalog.create_model_version("m")
    catalog.link_model_version(model.id, artifact_version_ids=[linked.id])
    with pytest.raises(ConflictError, match="run 'busy'"):
        catalog.delete_artifact_versions([free.id, used.id])
    with pytest.raises(ConflictError, match="Model 'm'"):
        catalog.delete_artifact_versions([linked.id])
    with pytest.raises(NotFoundError):
        catalog.delete_artifact_versions([free.id, new_id()])
    assert len(catalog.get_artifact_versions([free.id, used.id, linked.id])) == 3
    catalog.delete_artifact_versions([free.id])
    catalog.delete_artifact_versions([used.id, linked.id], force=True)
    assert catalog.get_artifact_versions([free.id, used.id, linked.id]) == {}
    with pytest.raises(ConflictError, match="1 version"):
        catalog.delete_artifact(catalog.get_artifact("model").id)
    catalog.delete_artifact(free.artifact_id)
    with pytest.raises(NotFoundError):
        catalog.get_artifact("free")


def test_models_are_created_once(catalog: SQLCatalog) -> None:
    """A model that exists is a conflict, or is returned unchanged with `exist_ok`."""
    made = catalog.create_model("m", description="d", license="MIT", tags=["t"], metadata={"k": 1})
    assert catalog.get_model("m") == made == catalog.get_model(made.id)
    with pytest.raises(ConflictError):
        catalog.create_model("m")
    assert catalog.create_model("m", description="other", exist_ok=True) == made
    changed = catalog.update_model(made.id, name="n", license="BSD")
    assert (changed.name, changed.license, changed.description) == ("n", "BSD", "d")
    catalog.create_model("other")
    with pytest.raises(ConflictError):
        catalog.update_model(made.id, name="other")
    with pytest.raises(NotFoundError):
        catalog.update_model(new_id(), name="x")


def test_model_versions_are_numbered_and_named(scene: Scene, catalog: SQLCatalog) -> None:
    """Model versions take numbers or names, know their runs, and are found by all of them."""
    run = scene.run()
    first = catalog.create_model_version("m", run_id=run.id, tags=["t"], metadata={"acc": 0.9})
    named = catalog.create_model_version("m", version="best", description="d")
    third = catalog.create_model_version("m")
    assert [v.version for v in (first, named, third)] == ["1", "best", "2"]
    assert first.run_ids == (run.id,)
    assert catalog.get_run(run.id).model_version_id == first.id
    assert catalog.get_model_version("m") == catalog.get_model_version("m", "latest") == third
    assert catalog.get_model_version("m", 1) == catalog.get_model_version("m", str(first.id)) == first
    assert catalog.get_model_version(named.id) == named
    assert catalog.get_model("m").latest_version == "2"
    assert catalog.list_model_versions(Query(filters={"model": "m"})).total == 3
    with pytest.raises(ConflictError, match="'best'"):
        catalog.create_model_version("m", version="best")
    with pytest.raises(NotFoundError):
        catalog.create_model_version("new", run_id=new_id())
    with pytest.raises(NotFoundError, match="model 'new'"):
        catalog.get_model("new")
    for reserved in ("production", "latest", "none"):
        with pytest.raises(UsageError):
            catalog.create_model_version("m", version=reserved)
    with pytest.raises(NotFoundError, match="best"):
        catalog.get_model_version("m", "bost")
    with pytest.raises(NotFoundError, match="stage"):
        catalog.get_model_version("m", "production")
    renamed = catalog.update_model_version(named.id, name="finest")
    assert (renamed.version, renamed.description) == ("finest", "d")


def test_a_stage_is_held_by_one_version(catalog: SQLCatalog) -> None:
    """A taken stage is refused; with force its holder is archived, and the history shows both."""
    old, new = catalog.create_model_version("m"), catalog.create_model_version("m")
    catalog.set_model_stage(old.id, ModelStage.PRODUCTION, user="ada")
    with pytest.raises(ConflictError, match="Version '1' holds it"):
        catalog.set_model_stage(new.id, ModelStage.PRODUCTION)
    assert catalog.get_model_version("m", "production").id == old.id
    assert (
        catalog.set_model_stage(new.id, ModelStage.PRODUCTION, force=True, user="bob").stage == "production"
    )
    assert catalog.get_model_version("m", "production").id == new.id
    assert catalog.get_model_version("m", "archived").id == old.id
    assert catalog.set_model_stage(new.id, ModelStage.PRODUCTION).stage == "production"
    history = [(c.version, c.old.value, c.new.value, c.user) for c in catalog.list_stage_changes("m")]
    assert history == [
        ("1", "none", "production", "ada"),
        ("1", "production", "archived", "bob"),
        ("2", "none", "production", "bob"),
    ]
    with pytest.raises(NotFoundError):
        catalog.set_model_stage(new_id(), ModelStage.STAGING)


def test_links_are_idempotent_and_listed(scene: Scene, catalog: SQLCatalog) -> None:
    """Artifacts and runs are linked once; an unknown one is refused and links nothing."""
    run = scene.run()
    model = catalog.create_model_version("m")
    a, b = scene.saved("a"), scene.saved("b")
    for _ in range(2):
        catalog.link_model_version(model.id, artifact_version_ids=[a.id, b.id], run_ids=[run.id])
    assert [v.id for v in catalog.list_model_version_artifacts(model.id)] == [b.id, a.id]
    assert catalog.get_model_version("m").run_ids == (run.id,)
    assert catalog.list_artifact_versions(Query(filters={"model": "m"})).total == 2
    assert catalog.list_runs(Query(filters={"model": "m"})).total == 1
    with pytest.raises(NotFoundError):
        catalog.link_model_version(model.id, artifact_version_ids=[scene.saved("c").id, new_id()])
    assert len(catalog.list_model_version_artifacts(model.id)) == 2
    with pytest.raises(NotFoundError):
        catalog.link_model_version(new_id(), run_ids=[run.id])
    with pytest.raises(NotFoundError):
        catalog.list_model_version_artifacts(new_id())


def test_steps_link_their_outputs_to_a_model_version(scene: Scene, catalog: SQLCatalog) -> None:
    """What a step makes for a model version is linked to it, also when it is taken from the cache."""
    first, second = catalog.create_model_version("m"), catalog.create_model_version("m")
    step, made = scene.step(scene.run(), model_version_id=first.id)
    assert catalog.list_model_version_artifacts(first.id) == made
    from rayform_runtime.catalog.entities import StepFinish, StepStart, StepStatus

    run = scene.run()
    start = StepStart(id=new_id(), run_id=run.id, key="s", name="s", model_version_id=second.id)
    finish = StepFinish(
        id=start.id, run_id=run.id, status=StepStatus.CACHED, cached_from=step, model_version_id=second.id
    )
    catalog.record_cached([(start, finish)])
    assert catalog.list_model_version_artifacts(second.id) == made
    assert catalog.get_model_version("m", 2).run_ids == (run.id,)


def test_deleting_models_keeps_artifacts_and_runs(scene: Scene, catalog: SQLCatalog) -> None:
    """A model goes with its versions; one in production goes only by force."""
    run = scene.run()
    first = catalog.create_model_version("m", run_id=run.id)
    artifact = scene.saved("a")
    catalog.link_model_version(first.id, artifact_version_ids=[artifact.id])
    catalog.set_model_stage(first.id, ModelStage.STAGING)
    with pytest.raises(ConflictError, match="staging"):
        catalog.delete_model_version(first.id)
    catalog.delete_model_version(first.id, force=True)
    catalog.create_model_version("m")
    catalog.delete_model(catalog.get_model("m").id)
    assert catalog.list_models().total == catalog.list_model_versions().total == 0
    assert catalog.get_artifact_version("a").id == artifact.id
    assert catalog.get_run(run.id).model_version_id is None
    for delete in (catalog.delete_model, catalog.delete_model_version):
        with pytest.raises(NotFoundError):
            delete(new_id())


def test_lineage_shows_what_made_a_version_and_what_was_made_of_it(scene: Scene, catalog: SQLCatalog) -> None:
    """A diamond of steps is shown whole, each node once, and cut at the asked depth."""
    run = scene.run()
    raw = scene.saved("raw")
    s1, (clean,) = scene.step(run, "clean", inputs={"raw": [raw.id]}, outputs=["clean"])
    s2, (left,) = scene.step(run, "left", inputs={"x": [clean.id]}, outputs=["left"])
    s3, (right,) = scene.step(run, "right", inputs={"x": [clean.id]}, outputs=["right"])
    s4, (model,) = scene.step(run, "join", inputs={"l": [left.id], "r": [right.id]}, outputs=["model"])
    graph = catalog.lineage(clean.id)
    assert set(graph.versions) == {v.id for v in (raw, clean, left, right, model)}
    assert set(graph.step_runs) == {s1, s2, s3, s4}
    assert set(graph.runs) == {run.id}
    assert graph.runs[run.id].spec
    assert {(e.source, e.target, e.name) for e in graph.edges} == {
        (raw.id, s1, "raw"),
        (s1, clean.id, "clean"),
        (clean.id, s2, "x"),
        (clean.id, s3, "x"),
        (s2, left.id, "left"),
        (s3, right.id, "right"),
        (left.id, s4, "l"),
        (right.id, s4, "r"),
        (s4, model.id, "model"),
    }
    assert len(graph.edges) == 9
    assert set(catalog.lineage(model.id, downstream=False).versions) == set(graph.versions)
    assert set(catalog.lineage(model.id, upstream=False).versions) == {model.id}
    assert set(catalog.lineage(model.id, depth=1).versions) == {model.id, left.id, right.id}
    assert set(catalog.lineage(clean.id, depth=1).versions) == set(graph.versions) - {model.id}
    assert set(catalog.lineage(raw.id, depth=0).versions) == {raw.id}
    assert catalog.lineage(clean.id, depth=0).edges == ()
    assert set(catalog.lineage(model.id, depth=1).step_runs) == {s4}
    assert set(catalog.lineage(clean.id, depth=1).step_runs) == {s1, s2, s3}
    assert set(catalog.lineage(clean.id, upstream=False).step_runs) == {s2, s3, s4}
    end, _ = scene.step(run, "deploy", inputs={"m": [model.id]}, outputs=[])
    assert end in catalog.lineage(raw.id).step_runs
    assert end not in catalog.lineage(left.id, depth=1).step_runs
    with pytest.raises(NotFoundError):
        catalog.lineage(new_id())
    with pytest.raises(UsageError):
        catalog.lineage(raw.id, depth=-1)


def test_lineage_goes_through_cached_steps(scene: Scene, catalog: SQLCatalog) -> None:
    """Lineage goes on from a version through cached steps to their outputs; repeats aren't shown."""
    first, same = scene.saved("in"), scene.saved("in")
    maker, (made,) = scene.step(scene.run(), "s", inputs={"x": [first.id]}, outputs=["out"])
    cached = scene.cached(scene.run(), "s", maker, {"x": [same.id]})
    scene.cached(scene.run(), "s", maker, {"x": [same.id]})
    scene.cached(scene.run(), "s", maker, {"x": [first.id]})
    from_same = catalog.lineage(same.id)
    assert set(from_same.versions) == {same.id, made.id}
    assert {(e.source, e.target) for e in from_same.edges if e.target != made.id} == {(same.id, cached)}
    assert (cached, made.id) in {(e.source, e.target) for e in from_same.edges}
    from_first = catalog.lineage(first.id)
    assert set(from_first.step_runs) == {maker}
    assert {(e.source, e.target) for e in from_first.edges} == {(first.id, maker), (maker, made.id)}


def test_prune_finds_only_what_nothing_needs(scene: Scene, catalog: SQLCatalog) -> None:
    """Versions that a kept run, a model version or a `keep` tag needs, and registered data, are left alone."""
    run = scene.run()
    used, loose, kept, foreign, linked = (
        scene.saved("used"),
        scene.saved("loose"),
        scene.saved("kept", tags=["keep"]),
        scene.saved("foreign", external=True),
        scene.saved("linked"),
    )
    _, (output,) = scene.step(run, inputs={"x": [used.id]})
    model = catalog.create_model_version("m")
    catalog.link_model_version(model.id, artifact_version_ids=[linked.id])
    plan = catalog.plan_prune()
    assert [v.id for v in plan.versions] == [loose.id]
    assert plan.kept == 5
    assert catalog.plan_prune(older_than=datetime(2020, 1, 1, tzinfo=UTC)).versions == ()
    assert [v.id for v in catalog.plan_prune(keep_runs=False).versions] == [loose.id]  # the run is running
    catalog.finish_run(run.id, RunStatus.COMPLETED)
    assert {v.id for v in catalog.plan_prune(keep_runs=False).versions} == {loose.id, used.id, output.id}
    catalog.link_model_version(model.id, run_ids=[run.id])
    assert [v.id for v in catalog.plan_prune(keep_runs=False).versions] == [loose.id]
    catalog.update_tags(Subject.ARTIFACT, loose.artifact_id, add=["keep"])
    assert catalog.plan_prune().versions == ()
    assert catalog.get_artifact_version(kept.id) and catalog.get_artifact_version(foreign.id)


def test_prune_offers_outputs_of_deleted_runs(scene: Scene, catalog: SQLCatalog) -> None:
    """Once its run is deleted, an output that no other run took over can go."""
    run, other = scene.run(), scene.run()
    step, (taken,) = scene.step(run, "a", outputs=["taken"])
    _, (free,) = scene.step(run, "b", outputs=["free"])
    scene.cached(other, "a", step, {})
    catalog.finish_run(run.id, RunStatus.FAILED)
    catalog.delete_run(run.id)
    assert [v.id for v in catalog.plan_prune().versions] == [free.id]
    assert taken.id not in {v.id for v in catalog.plan_prune().versions}


def test_known_uris_are_told(scene: Scene, catalog: SQLCatalog) -> None:
    """The URIs that a version refers to are returned."""
    uris = {scene.saved("a").uri for _ in range(3)}
    assert catalog.known_uris([*uris, "file:///other", "with\0nul"]) == uris
    assert catalog.known_uris([]) == set()


def test_a_catalog_can_be_opened_twice(maker: CatalogMaker) -> None:
    """Two catalog objects on one database see each other's commits."""
    one, two = maker.open(), maker.open()
    saved = Scene(one).saved("a")
    assert two.get_artifact_version("a") == saved
    two.check()
    two.close()
    assert two.get_artifact_version("a") == saved


def test_text_that_no_database_takes_changes_nothing(scene: Scene, catalog: SQLCatalog) -> None:
    """A lone surrogate in a description, a URI or a name is a usage error."""
    with pytest.raises(UsageError, match="lone surrogate"):
        catalog.create_model("m", description="\ud800")
    with pytest.raises(UsageError, match="lone surrogate"):
        scene.saved("a", uri="file:///\udc80")
    with pytest.raises((UsageError, NotFoundError)):
        catalog.get_run("\ud800")
    assert catalog.list_models().total == catalog.list_artifacts().total == 0
