"""What travels as a project's code, and how it comes back."""

import os
import tarfile

import pytest

from rayform_core.errors import IntegrityError, UsageError
from rayform_runtime.usercode.bundle import make_bundle, unpack_bundle
from rayform_runtime.usercode.project_files import project_files


def write(root, name, text="x"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(root):
    return [f.name for f in project_files(root)]


def test_ignored_files_stay_behind(tmp_path):
    """Rules of .gitignore and .dockerignore hold, nearer ones over farther ones."""
    for name in (
        "a.py",
        "data/big.csv",
        "data/small.csv",
        "deep/b.py",
        "deep/c.log",
        "deep/keep.log",
        "d.log",
    ):
        write(tmp_path, name)
    write(tmp_path, ".gitignore", "data/\n*.log\n")
    write(tmp_path, "deep/.gitignore", "!keep.log\n")
    write(tmp_path, ".dockerignore", "d.py\n")
    write(tmp_path, "d.py")
    assert [n for n in names(tmp_path) if "ignore" not in n] == ["a.py", "deep/b.py", "deep/keep.log"]


def test_secrets_never_travel(tmp_path):
    """Files that usually hold secrets stay behind though nothing ignores them."""
    for name in (
        "a.py",
        ".env",
        ".env.production",
        "key.pem",
        "id_rsa",
        ".aws/credentials",
        "x/terraform.tfstate",
    ):
        write(tmp_path, name)
    assert names(tmp_path) == ["a.py"]


def test_a_link_out_of_the_project_is_refused(tmp_path):
    """A link to a file elsewhere raises and names both ends."""
    outside = write(tmp_path, "outside.txt")
    root = tmp_path / "project"
    root.mkdir()
    (root / "link.txt").symlink_to(outside)
    with pytest.raises(UsageError, match="outside of the project"):
        names(root)


def test_equal_files_give_an_equal_digest(tmp_path):
    """Times don't matter, content and the executable bit do."""
    path = write(tmp_path, "a.py")
    first = make_bundle(tmp_path)
    os.utime(path, (1, 1))
    assert make_bundle(tmp_path).digest == first.digest
    path.chmod(0o755)
    changed = make_bundle(tmp_path)
    assert changed.digest != first.digest
    path.write_text("y")
    assert make_bundle(tmp_path).digest not in (first.digest, changed.digest)


def test_a_bundle_comes_back_as_it_was(tmp_path):
    """Packing and unpacking keeps names, content and the executable bit."""
    write(tmp_path / "p", "pkg/a.py", "print(1)")
    write(tmp_path / "p", "run.sh").chmod(0o755)
    bundle = make_bundle(tmp_path / "p")
    unpack_bundle(bundle.data, bundle.digest, tmp_path / "out")
    assert (tmp_path / "out/pkg/a.py").read_text() == "print(1)"
    assert os.access(tmp_path / "out/run.sh", os.X_OK)


def test_a_changed_bundle_is_refused(tmp_path):
    """Content under a wrong digest is an integrity error and leaves nothing."""
    write(tmp_path / "p", "a.py")
    bundle = make_bundle(tmp_path / "p")
    with pytest.raises(IntegrityError, match="another digest"):
        unpack_bundle(bundle.data, "0" * 64, tmp_path / "out")
    with pytest.raises(IntegrityError, match="corrupt"):
        unpack_bundle(bundle.data[:20], bundle.digest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_leaves_its_folder_is_refused(tmp_path):
    """A hostile name in the archive is an integrity error, even with the right digest."""
    import gzip
    import hashlib
    import io

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        entry = tarfile.TarInfo("../evil.py")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    digest = hashlib.sha256(raw.getvalue()).hexdigest()
    (tmp_path / "a").mkdir()
    with pytest.raises(IntegrityError, match="can't be unpacked"):
        unpack_bundle(gzip.compress(raw.getvalue()), digest, tmp_path / "a" / "out")
    assert not (tmp_path / "evil.py").exists()
    assert not (tmp_path / "a" / "out").exists()


def test_a_bundle_that_is_a_bomb_is_given_up_early(tmp_path, monkeypatch):
    """A small archive that grows without end takes no memory, no more disk than a bundle may, and leaves nothing."""
    import gzip
    import tracemalloc

    from rayform_runtime.usercode import bundle

    monkeypatch.setattr(bundle, "LARGEST_BUNDLE", 8 * 2**20)
    bomb = gzip.compress(bytes(256 * 2**20), compresslevel=1)
    assert len(bomb) < 2 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="is not what was uploaded"):
            unpack_bundle(bomb, "0" * 64, tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 1, 9, 30, -9, -1])
def test_a_bundle_without_its_end_is_refused(tmp_path, cut):
    """Wherever the archive was cut, nothing of it is used."""
    write(tmp_path / "p", "a.py", "print(1)" * 200)
    bundle = make_bundle(tmp_path / "p")
    with pytest.raises(IntegrityError, match="corrupt"):
        unpack_bundle(bundle.data[:cut], bundle.digest, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_the_largest_project_fits(tmp_path):
    """Whatever `project_files` lets travel, the machines take: its files, each with a header and padding."""
    from rayform_runtime.usercode import bundle, project_files

    headers = 4 * 1024  # a PAX header, its record, the file's own header and padding
    assert project_files._MOST_BYTES + project_files._MOST_FILES * headers < bundle.LARGEST_BUNDLE


def test_a_bundle_of_the_bucket_is_fetched_once_and_not_if_it_is_too_large(tmp_path, monkeypatch):
    """The object's size is asked for first; the second container process finds the files."""
    from rayform_runtime.components import ComponentKind, ComponentSpec, Stack, StackSpec
    from rayform_runtime.usercode import bundle
    from rayform_runtime.usercode.bundle import fetch_bundle, upload_bundle

    monkeypatch.setenv("RAYFORM_CODE_CACHE", str(tmp_path / "cache"))
    store = ComponentSpec(
        name="s", kind=ComponentKind.ARTIFACT_STORE, flavor="local", config={"path": str(tmp_path / "store")}
    )
    spec = StackSpec(name="s", components={ComponentKind.ARTIFACT_STORE: store})
    write(tmp_path / "p", "a.py", "print(1)")
    made = make_bundle(tmp_path / "p")
    upload_bundle(made, Stack(spec).artifact_store)
    stack = spec.model_dump(mode="json")
    with monkeypatch.context() as small:
        small.setattr(bundle, "LARGEST_BUNDLE", len(made.data) - 1)
        with pytest.raises(IntegrityError, match="larger than"):
            fetch_bundle(stack, made.key, made.digest)
    folder = fetch_bundle(stack, made.key, made.digest)
    assert (folder / "a.py").read_text() == "print(1)"
    Stack(spec).artifact_store.delete_objects([made.key])
    assert fetch_bundle(stack, made.key, made.digest) == folder
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
