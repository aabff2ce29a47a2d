"""On both databases filters match what a plain Python model of them matches."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.catalogs import Scene

from rayform_core.errors import UsageError
from rayform_runtime.catalog.entities import ArtifactVersion, Query
from rayform_runtime.catalog.metadata import StorageSize
from rayform_runtime.catalog.sql.catalog import SQLCatalog

# Words that meet the language's edges: case, wildcards, quotes, operators, comments, other scripts, order of bytes.
WORDS = [
    "a",
    "A",
    "ab",
    "b%",
    "b_",
    "b'",
    'c"--',
    "x; DROP TABLE runs",
    "é",
    "zé",
    "Zz",
    "gt:5",
    "10",
    "9",
    "true",
]
VALUES: list[Any] = [
    0, 1, 2.5, -3, 10**12, True, False, None, "10", "9", "true", "x", "É", "b%", [1, 2], {"value": 1}, (1,),
    StorageSize(10), datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1), math.inf,
]  # fmt: skip
KEYS = ["k", "odd \"key'", "with.dot"]
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
COMPARISONS = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gte": lambda a, b: a >= b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
}
TEXT = {**COMPARISONS, "contains": lambda a, b: b in a, "startswith": lambda a, b: a.startswith(b)}
ALL_OF = {"ne", "gte", "lte", "gt", "lt"}


def combined(tests: list[tuple[str, bool]]) -> bool:
    """One of the plain tests holds, and all comparisons."""
    plain = [holds for operator, holds in tests if operator not in ALL_OF]
    return all(holds for operator, holds in tests if operator in ALL_OF) and (not plain or any(plain))


def as_number(text: str) -> float | int | None:
    """Return the number that a text spells."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def metadata_matches(value: Any, operator: str, target: Any) -> bool:
    """The meaning of a comparison with a metadata value, in Python."""
    if isinstance(value, datetime):
        value = value.isoformat(timespec="microseconds")
    if isinstance(value, list | dict | tuple) or value == math.inf:
        return value == math.inf and isinstance(target, str) and TEXT[operator]("inf", target)
    if operator in ("contains", "startswith"):
        return isinstance(value, str) and TEXT[operator](value, str(target))
    compare = COMPARISONS[operator]
    if target is None:
        return operator in ("eq", "ne") and compare(value is None, True)
    if isinstance(value, bool):
        if isinstance(target, str) and target in ("true", "false"):
            target = target == "true"
        return isinstance(target, bool) and operator in ("eq", "ne") and compare(value, target)
    if isinstance(value, int | float):
        if isinstance(target, str):
            target = as_number(target)
        return isinstance(target, int | float) and not isinstance(target, bool) and compare(value, target)
    if isinstance(value, str):
        return isinstance(target, str) and compare(value.encode(), target.encode())
    return False


@pytest.fixture
def versions(scene: Scene, catalog: SQLCatalog) -> list[ArtifactVersion]:
    """Versions that differ in all that a filter looks at."""
    made = []
    for index, value in enumerate(VALUES):
        word = WORDS[index % len(WORDS)]
        metadata: dict[str, Any] = {KEYS[index % 3]: value}
        if index % 3 == 0:
            metadata["k"] = value
        made.append(
            scene.saved(
                f"artifact {word}",
                type=word,
                size=index * 7 % 11,
                output_name=word if index % 4 else None,
                tags=[tag for bit, tag in enumerate(["t", "T", "t'"]) if index >> bit & 1],
                metadata=metadata,
                external=index % 5 == 0,
            )
        )
    return made


def matching(catalog: SQLCatalog, filters: dict[str, Any]) -> set[Any]:
    page = catalog.list_artifact_versions(Query(filters=filters, size=100))
    assert page.total == len(page.items)
    return {item.id for item in page.items}


operators = st.sampled_from(sorted(TEXT))
words = st.one_of(st.sampled_from(WORDS), st.text(ANY, max_size=3))
repeatable = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@repeatable
@given(
    tests=st.lists(st.tuples(operators, words), min_size=1, max_size=3),
    field=st.sampled_from(["type", "output_name", "name"]),
)
def test_text_compares_by_its_bytes(
    versions: list[ArtifactVersion], catalog: SQLCatalog, tests: list[tuple[str, str]], field: str
) -> None:
    """Text comparisons ignore the database's collation, case rules and wildcards."""

    def matches(value: str | None) -> bool:
        results = []
        for operator, word in tests:
            if value is None:
                results.append((operator, operator == "ne"))
            elif operator in ("contains", "startswith"):
                results.append((operator, TEXT[operator](value, word)))
            else:
                results.append(
                    (operator, COMPARISONS[operator](value.encode("utf-8", "surrogatepass"), word.encode()))
                )
        return combined(results)

    filters = {field: [f"{operator}:{word}" for operator, word in tests]}
    assert matching(catalog, filters) == {v.id for v in versions if matches(getattr(v, field))}


@repeatable
@given(
    tests=st.lists(
        st.tuples(st.sampled_from(sorted(COMPARISONS)), st.integers(-2, 12)), min_size=1, max_size=3
    )
)
def test_numbers_compare_as_numbers(
    versions: list[ArtifactVersion], catalog: SQLCatalog, tests: list[tuple[str, int]]
) -> None:
    """Numbers are compared by value, whether the filter's is text or a number."""
    filters = {"size": [n if operator == "eq" else f"{operator}:{n}" for operator, n in tests]}
    expected = {
        v.id
        for v in versions
        if combined([(operator, COMPARISONS[operator](v.size, n)) for operator, n in tests])
    }
    assert matching(catalog, filters) == expected


@repeatable
@given(
    operator=operators,
    target=st.one_of(
        st.sampled_from([*WORDS, "2026-01-02T00:00:00.000000+00:00", "inf"]), st.text(ANY, max_size=3)
    ),
    key=st.sampled_from([*KEYS, "missing"]),
)
def test_metadata_compares_by_type(
    versions: list[ArtifactVersion], catalog: SQLCatalog, operator: str, target: str, key: str
) -> None:
    """A text filter means the text, and the number or bool that it spells; a missing key never matches."""
    expected = {
        v.id for v in versions if key in v.metadata and metadata_matches(v.metadata[key], operator, target)
    }
    assert matching(catalog, {f"metadata.{key}": f"{operator}:{target}"}) == expected


@repeatable
@given(
    target=st.one_of(st.sampled_from([0, 1, 2.5, -3, 10, True, False, None]), st.integers(), st.floats()),
    key=st.sampled_from(KEYS),
)
def test_typed_metadata_filters_want_that_type(
    versions: list[ArtifactVersion], catalog: SQLCatalog, target: Any, key: str
) -> None:
    """A filter value that isn't text finds values of its own type alone."""
    expected = {
        v.id for v in versions if key in v.metadata and metadata_matches(v.metadata[key], "eq", target)
    }
    assert matching(catalog, {f"metadata.{key}": target}) == expected


@repeatable
@given(
    tags=st.lists(
        st.tuples(st.sampled_from(["eq", "ne", "startswith"]), st.sampled_from(["t", "T", "t'", "u"])),
        min_size=1,
        max_size=3,
    )
)
def test_all_tags_must_be_there(
    versions: list[ArtifactVersion], catalog: SQLCatalog, tags: list[tuple[str, str]]
) -> None:
    """An item must have all of several tags, and not the one after `ne:`."""

    def matches(had: tuple[str, ...]) -> bool:
        return all(
            (tag in had) if operator == "eq"
            else (tag not in had) if operator == "ne"
            else any(one.startswith(tag) for one in had)
            for operator, tag in tags
        )  # fmt: skip

    assert matching(catalog, {"tag": [f"{o}:{t}" for o, t in tags]}) == {
        v.id for v in versions if matches(v.tags)
    }


def test_times_and_ids_and_bools_compare(versions: list[ArtifactVersion], catalog: SQLCatalog) -> None:
    """Times are compared with datetimes, dates and ISO text, IDs with whole ones or parts, bools with words."""
    middle = versions[5]
    after = {v.id for v in versions if v.created_at > middle.created_at}
    assert matching(catalog, {"created_at": f"gt:{middle.created_at.isoformat()}"}) == after
    span = [f"gt:{versions[1].created_at.isoformat()}", f"lte:{middle.created_at.isoformat()}"]
    assert matching(catalog, {"created_at": span}) == {v.id for v in versions[2:6]}
    assert matching(catalog, {"created_at": middle.created_at}) == {middle.id}
    assert matching(catalog, {"created_at": f"lt:{(middle.created_at - timedelta(days=2)).date()}"}) == set()
    assert (
        matching(catalog, {"id": middle.id}) == matching(catalog, {"id": str(middle.id)[:-1]}) == {middle.id}
    )
    assert matching(catalog, {"id": [versions[0].id, middle.id]}) == {versions[0].id, middle.id}
    assert matching(catalog, {"id": f"ne:{middle.id}"}) == {v.id for v in versions} - {middle.id}
    assert matching(catalog, {"external": "true"}) == {v.id for v in versions if v.external}
    assert matching(catalog, {"external": False}) == {v.id for v in versions if not v.external}
    assert matching(catalog, {"producer_run_id": None}) == {v.id for v in versions}
    assert matching(catalog, {"producer_run_id": f"ne:{middle.id}"}) == {v.id for v in versions}
    assert matching(catalog, {"type": []}) == set()


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ({"tipe": "x"}, "'type'"),
        ({"metadat.x": 1}, "metadata.<key>"),
        ({"metadata.": 1}, "metadata.<key>"),
        ({"size": "big"}, "a number"),
        ({"size": "contains:1"}, "doesn't apply"),
        ({"created_at": "yesterday"}, "2026-01-31"),
        ({"external": "maybe"}, "true or false"),
        ({"id": "not-an-id"}, "start of one"),
        ({"id": "gt:0"}, "start of one"),
        ({"type": object()}, "text"),
        ({"type": "nul\0"}, "NUL"),
        ({"type": "contains:\0"}, "NUL"),
        ({"metadata.k": "gt:\ud800"}, "surrogates"),
        ({"1=1) OR (1=1": "x"}, "Fields:"),
    ],
)
def test_wrong_filters_say_what_is_known(catalog: SQLCatalog, filters: dict[str, Any], hint: str) -> None:
    """An unknown field or an impossible value is a usage error that helps."""
    with pytest.raises(UsageError) as caught:
        catalog.list_artifact_versions(Query(filters=filters))
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        Query(order="crated_at"),
        Query(order="id; DROP TABLE runs"),
        Query(page=0),
        Query(size=0),
        Query(size=10_001),
    ],
)
def test_wrong_orders_and_pages_are_refused(catalog: SQLCatalog, query: Query) -> None:
    """Order, page and size are checked before they reach the database."""
    for listing in (catalog.list_runs, catalog.list_artifacts, catalog.list_artifact_versions, catalog.list_models,
                    catalog.list_model_versions, catalog.list_pipelines):  # fmt: skip
        with pytest.raises(UsageError):
            listing(query)


def test_every_field_of_every_list_can_be_filtered_and_sorted_by(scene: Scene, catalog: SQLCatalog) -> None:
    """No field that a list offers breaks on either database."""
    from rayform_runtime.catalog.sql import artifacts, model_versions, models, runs
    from rayform_runtime.catalog.sql.filters import Kind

    scene.step(scene.run())
    catalog.create_model_version("m")
    sample = {Kind.TEXT: "x", Kind.NUMBER: 1, Kind.MOMENT: "2026-01-01", Kind.ID: "ab", Kind.BOOL: True}
    for listing, source in (
        (runs.RUN_LIST, catalog.list_runs),
        (runs.PIPELINE_LIST, catalog.list_pipelines),
        (artifacts.ARTIFACT_LIST, catalog.list_artifacts),
        (artifacts.VERSION_LIST, catalog.list_artifact_versions),
        (models.MODEL_LIST, catalog.list_models),
        (model_versions.MODEL_VERSION_LIST, catalog.list_model_versions),
    ):
        fields = {**listing.fields, **{name: inner for name, (_, inner) in listing.within.items()}}
        for name, field in fields.items():
            for operator in ("eq", "ne", *(("gte", "contains") if field.kind == Kind.TEXT else ())):
                source(Query(filters={name: f"{operator}:{sample[field.kind]}"}))
        for name in {**listing.fields, **listing.sorted_by}:
            for order in (name, f"-{name}"):
                assert source(Query(order=order)).total == 1
