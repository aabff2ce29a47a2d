"""From an image specification to a Dockerfile, its files and its name."""

import re
import tarfile

import pytest
from docker.errors import ImageNotFound

from rayform_core.errors import NotFoundError, UsageError
from rayform_runtime.images.build_context import plan_image
from rayform_runtime.images.builder import build_error, build_image, plan_images
from rayform_runtime.images.local_wheels import find_links_folders, find_local_wheels
from rayform_runtime.spec import ImageSpec, PipelineSpec, SourceRef, StepSpec


@pytest.fixture
def plan(tmp_path, platform):
    def make(find_links=(), **spec):
        return plan_image(
            ImageSpec(**spec),
            project=tmp_path,
            base_image="python:3.11-slim",
            platform=platform,
            find_links=find_links,
        )

    return make


def test_layers_that_change_rarely_come_first(plan, tmp_path):
    """Base, Ray, system packages, requirements, Rayform, files, environment: in that order."""
    (tmp_path / "model.json").write_text("{}")
    made = plan(
        requirements=["numpy"],
        apt_packages=["git"],
        files={"/data/model.json": "model.json"},
        environment={"MODE": "fast"},
    )
    order = [
        made.dockerfile.index(part)
        for part in (
            "FROM python",
            "ray.txt",
            "apt-get",
            "requirements.txt",
            ".whl",
            "/data/model.json",
            "ENV MODE",
        )
    ]
    assert order == sorted(order)
    assert 'ENV MODE="fast"' in made.dockerfile


def test_images_share_the_layer_with_ray(plan):
    """Whatever else two images hold, their instructions are equal up to the one that installs Ray."""
    made = [plan(), plan(requirements=["numpy"], apt_packages=["git"], environment={"A": "1"})]
    shared = [one.dockerfile.splitlines()[:5] for one in made]
    assert shared[0] == shared[1]
    assert "ray.txt" in shared[0][3] and "sys.exit" in shared[0][4]
    assert made[0].files["image/ray.txt"] == made[1].files["image/ray.txt"]
    assert b"ray==2.60.0\n" in made[0].files["image/ray.txt"]


def test_equal_needs_have_an_equal_name_and_others_another(plan):
    """The tag is the digest of the content."""
    assert plan(requirements=["numpy"]).tag == plan(requirements=["numpy"]).tag
    assert len({plan(requirements=r).tag for r in (["numpy"], ["scipy"], None)}) == 3
    assert re.fullmatch(r"[0-9a-f]{24}", plan().tag)


def test_steps_with_equal_needs_share_a_plan(tmp_path, platform):
    """Two steps with the pipeline's image have one plan, a third with its own has another."""
    source = SourceRef(module="m", qualname="f")
    steps = [StepSpec(key=k, name=k, source=source) for k in "ab"]
    steps.append(StepSpec(key="c", name="c", source=source, image=ImageSpec(requirements=["numpy"])))
    plans = plan_images(
        PipelineSpec(name="p", source=source, steps=steps),
        project=tmp_path,
        base_image="b",
        platform=platform,
    )
    assert plans["a"] is plans["b"] and plans["c"].tag != plans["a"].tag


def test_requirements_come_from_a_list_a_file_or_the_project(plan, tmp_path):
    """All three forms give the same layer for the same requirements."""
    (tmp_path / "reqs.txt").write_text("# comment\nnumpy>=1\n\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["numpy>=1"]\n')
    tags = {plan(requirements=r).tag for r in (["numpy>=1"], "reqs.txt", "pyproject")}
    assert len(tags) == 1


def test_a_missing_file_names_its_neighbours(plan, tmp_path):
    """A wrong file name is answered with the nearest right one."""
    (tmp_path / "requirements.txt").write_text("numpy\n")
    with pytest.raises(NotFoundError, match=r"requirements\.txt"):
        plan(requirements="requirement.txt")


@pytest.mark.parametrize(
    "spec",
    [
        {"index_url": "https://user:hunter2@index.example.com/simple"},
        {"extra_index_urls": ["https://hunter2@index.example.com/simple"]},
        {"requirements": ["pkg @ https://user:hunter2@example.com/pkg.whl"]},
        {"environment": {"AWS_SECRET_ACCESS_KEY": "hunter2"}},
        {"build_args": {"NPM_TOKEN": "hunter2"}},
    ],
)
def test_secrets_are_refused_and_not_repeated(plan, spec):
    """A login or a variable named like a secret is refused, and the error doesn't show it."""
    with pytest.raises(UsageError, match="stay readable") as refused:
        plan(**spec)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "spec",
    [
        {"apt_packages": ["git; rm -rf /"]},
        {"base_image": "x\nRUN evil"},
        {"environment": {"A B": "1"}},
        {"environment": {"A": "1\nRUN evil"}},
        {"files": {"../etc/passwd": "x"}},
        {"requirements": ["--index-url https://evil.example.com"]},
    ],
)
def test_values_can_not_add_instructions(plan, spec):
    """A value that would break out of its instruction is refused."""
    with pytest.raises(UsageError):
        plan(**spec)


def test_a_dockerfile_of_ones_own_gets_rayform_on_top(plan, tmp_path):
    """The user's instructions stand first and unchanged, with the project as context."""
    (tmp_path / "Dockerfile").write_text("FROM python:3.11\nCOPY a.py /a.py\n")
    (tmp_path / "a.py").write_text("")
    made = plan(dockerfile="Dockerfile", build_args={"X": "1"})
    assert made.dockerfile.startswith("FROM python:3.11\nCOPY a.py /a.py\n")
    with tarfile.open(fileobj=made.archive()) as archive:
        assert {"a.py", "Dockerfile", "Dockerfile.rayform"} <= set(archive.getnames())


def test_a_local_wheel_stands_for_its_requirement(plan, tmp_path):
    """A wheel in a find-links folder that fits travels with the context and pins its requirement."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in (
        "torch-2.4.0+cpu-cp311-cp311-linux_x86_64.whl",
        "torch-2.5.0+cpu-cp311-cp311-linux_x86_64.whl",
        "torch-2.6.0+cpu-cp312-cp312-linux_x86_64.whl",
        "torch-2.7.0+cpu-cp311-cp311-win_amd64.whl",
        "numpy-1.0-py3-none-any.whl",
    ):
        (folder / name).write_bytes(b"x")
    import platform as machine

    if machine.machine() != "x86_64":
        pytest.skip("the wheels in this test are for x86_64")
    made = plan(find_links=[folder], requirements=["torch>=2,<2.6", "scipy"])
    assert made.files["image/constraints.txt"] == b"ray==2.60.0\ntorch==2.5.0+cpu\n"
    assert [n for n in made.files if n.startswith("image/wheels/")] == [
        "image/wheels/torch-2.5.0+cpu-cp311-cp311-linux_x86_64.whl"
    ]
    assert find_local_wheels(["torch<2"], [folder], python="3.11") == []


def test_find_links_are_read_from_pips_own_setting(tmp_path):
    """Folders count, addresses and missing folders don't."""
    setting = {"PIP_FIND_LINKS": f"{tmp_path} https://example.com/wheels /does/not/exist"}
    assert find_links_folders(setting) == [tmp_path]


@pytest.mark.parametrize(
    ("said", "failure", "kind", "part"),
    [
        ("write: no space left on device", "exit 1", "PrerequisiteError", "disk"),
        ("E: Unable to locate package gti", "exit 100", "UsageError", "'gti'"),
        ("ERROR: No matching distribution found for nmupy", "exit 1", "UsageError", "nmupy"),
        ("RAYFORM-CHECK Python 3.9 and Ray 2.60.0", "exit 1", "UsageError", "Python 3.9"),
        ("", "pull access denied for x, repository does not exist", "UsageError", "base image"),
        ("boom", "exit 1", "RemoteError", "boom"),
    ],
)
def test_a_failed_build_says_what_to_do(plan, said, failure, kind, part):
    """Each usual cause has an error of its own."""
    error = build_error(plan(), failure, said)
    assert type(error).__name__ == kind and part in str(error)


UV_NOW = """\
error: No solution found when resolving dependencies
  cause: Because nmupy was not found in the package registry and you require nmupy, we can conclude that your ...
"""
UV_BEFORE = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because nmupy was not found in the package
      registry and you require nmupy, we can conclude that your requirements
      are unsatisfiable.
"""


class Builds:
    """The part of Docker's client that builds, whose build says `pieces` and fails."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.images = self.api = self

    def get(self, tag):
        raise ImageNotFound(tag)

    def build(self, **options):
        yield {"stream": "Step 3/9 : RUN uv pip install"}
        yield {"stream": "\n"}
        for piece in self.pieces:
            yield {"stream": f"\x1b[91m{piece}\x1b[0m"}
        yield {"error": "The command returned a non-zero code: 1"}


@pytest.mark.parametrize("said", [UV_NOW, UV_BEFORE])
@pytest.mark.parametrize("cuts", [[], [2, 7, 30, 60, 75], [100]])
def test_the_message_of_uv_about_a_requirement_is_whole(plan, said, cuts):
    """The engine cuts standard error anywhere and puts each piece in red; the sentence keeps its subject."""
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    with pytest.raises(UsageError, match="requirements can't be installed") as caught:
        build_image(Builds(pieces), plan(), "t", lambda text, seconds: None)
    assert "Because nmupy was not found in the package registry and you require nmupy" in caught.value.why
    assert "\x1b" not in caught.value.why


def test_a_failed_build_keeps_the_sentence_of_a_requirement(plan):
    """Without an error line before it, the sentence still begins at its beginning."""
    error = build_error(plan(), "exit 1", "Because a was not found in the provided package locations\n")
    assert error.why == "Because a was not found in the provided package locations"
