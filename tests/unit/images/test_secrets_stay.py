# ruff: noqa: E501 - each content stands in one line
"""Which files look like secrets, and stay on this machine."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayform_runtime.usercode import secret_files
from rayform_runtime.usercode.bundle import left_out_note, make_bundle
from rayform_runtime.usercode.project_files import select_files
from rayform_runtime.usercode.secret_files import secret_in

_BODY = base64.b64encode(bytes(range(256)) * 3).decode()
_PEM = (
    "-----BEGIN {}PRIVATE KEY-----\n"
    + "\n".join(re.findall(".{1,64}", _BODY))
    + "\n-----END {}PRIVATE KEY-----\n"
)

_SECRET_NAMES = """
.env prod.env .env.production config/.ENV .envrc .git-credentials .npmrc .yarnrc.yml .pypirc .netrc
_netrc .htpasswd .pgpass .my.cnf .kube/config kubeconfig prod.kubeconfig service-account.json gcp-service-account-prod.json
my_service_account.json key.p12 cert.pfx store.jks app.keystore vault.kdbx
putty.ppk server.pem server.key SERVER.KEY id_rsa id_rsa.bak id_ed25519 id_ecdsa_sk .ssh/config
.aws/credentials .aws/config .azure/accessTokens.json .config/gcloud/credentials.db .docker/config.json
.dockercfg .boto .s3cfg terraform.tfstate terraform.tfstate.backup prod.tfvars prod.auto.tfvars.json
credentials.tfrc.json .terraformrc .vault-token client_secret_123.apps.googleusercontent.com.json
application_default_credentials.json credentials.json rootkey.csv user_accessKeys.csv secrets.yaml
config/secrets.toml .streamlit/secrets.toml secrets.json .secrets kaggle.json .databrickscfg
.bash_history .python_history host.keytab AuthKey_ABC123.p8 client.ovpn .cargo/credentials.toml
.m2/settings.xml sftp-config.json
""".split()  # noqa: SIM905
_ORDINARY_NAMES = """
train.py secrets.py credentials.py token.py tokenizer.json keys.py environment.yml env.py dotenv.md
.env.example .env.sample config.yaml settings.toml pyproject.toml requirements.txt Dockerfile README.md
data.csv notebook.ipynb vocab.txt keyboard.json monkey.csv model.safetensors access.log service.json
account.json public.crt .gitignore .rayformignore .pre-commit-config.yaml secret_santa.py history.py
""".split()  # noqa: SIM905
_CONTENTS: dict[str, bytes] = {
    **{f"PEM {kind}": _PEM.format(kind, kind).encode() for kind in ("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ")},
    "PEM with headers": _PEM.format("RSA ", "RSA ").replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,00\n\n", 1).encode(),
    "PEM in JSON": json.dumps({"type": "service_account", "private_key": _PEM.format("", "")}).encode(),
    "PEM in JSON in JSON": json.dumps(json.dumps({"private_key": _PEM.format("", "")})).encode(),
    "PEM with Windows line ends": _PEM.format("", "").replace("\n", "\r\n").encode(),
    "PEM in UTF-16": _PEM.format("", "").encode("utf-16"),
    "PEM after a megabyte's half": b"#" * 500_000 + _PEM.format("", "").encode(),
    "PGP": f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{_BODY}".encode(),
    "AWS access key": b'KEY = "AKIA' + b"Q3EGRZ6TDM5VWXY2" + b'"',
    "AWS secret key": b"aws_secret_access_key = " + b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYzz83hfKq2a",
    "GitHub": b"ghp_" + b"a1B2c3D4e5" * 3 + b"f6G7h8",
    "GitHub in a URL": b"git+https://x:github_pat_" + b"A" * 22 + b"_" + b"b" * 59 + b"@github.com/o/r",
    "GitLab": b"glpat-" + b"x" * 20,
    "Slack": b"xoxb-" + b"123456789012-123456789012-abcDEF",
    "Stripe": b"sk_live_" + b"4eC39HqLyjWDarjtT1zdp7dc",
    "npm": b"//packages.example.org/:_authToken=npm_" + b"a" * 36,
    "Hugging Face": b'token = "hf_' + b"abcdefghijKLMNOPQRSTuvwxyzABCDEFGH" + b'"',
    "Azure": b"AccountKey=" + b"A" * 86 + b"==",
    "PKCS#12": bytes.fromhex("308209d1020103308209 97".replace(" ", "")) + bytes.fromhex("06092a864886f70d010701a0820988"),
    "Java key store": b"\xfe\xed\xfe\xed\x00\x00\x00\x02",
    "PuTTY": b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
}  # fmt: skip
_HARMLESS_CONTENTS = [
    b'if "-----BEGIN RSA PRIVATE KEY-----" in text:\n    raise ValueError("a private key")\n',
    b'AWS_KEY = "AKIAIOSFODNN7EXAMPLE"\naws_secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"\n',
    b"hf_hub_download(repo)\nnpm_config = 1\nsk_live = None\nghp_ = 2\ndo_v1 = 3\n",
    b"aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']\n",
    b"-----BEGIN PUBLIC KEY-----\n" + _BODY.encode(),
    b"-----BEGIN CERTIFICATE-----\n" + _BODY.encode(),
    b"//packages.example.org/:_authToken=${NPM_TOKEN}\n",
    bytes(range(256)) * 100,
    b"",
]


def _write(root: Path, name: str, data: bytes = b"x = 1\n") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYFORM_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", _SECRET_NAMES)
@pytest.mark.parametrize("folder", ["", "deep/er/"])
def test_names_of_secrets_stay(tmp_path: Path, name: str, folder: str) -> None:
    """A file with the usual name of a secret stays, in any folder and in any case, and is named once."""
    _write(tmp_path / "p", folder + name)
    _write(tmp_path / "p", "train.py")
    selection = select_files(tmp_path / "p")
    assert [f.name for f in selection.files] == ["train.py"]
    assert len(selection.left_out) == 1
    assert (folder + name).startswith(selection.left_out[0].name)


def test_ordinary_names_travel(tmp_path: Path) -> None:
    """Files of code and data that only remind of secrets travel."""
    for name in _ORDINARY_NAMES:
        _write(tmp_path / "p", name)
    selection = select_files(tmp_path / "p")
    assert sorted(f.name for f in selection.files) == sorted(_ORDINARY_NAMES)
    assert not selection.left_out


@pytest.mark.parametrize("data", _CONTENTS.values(), ids=_CONTENTS)
def test_contents_of_secrets_stay(tmp_path: Path, data: bytes) -> None:
    """A key or token stays, whatever its file is called, and also behind a link."""
    (path := _write(tmp_path / "p", "notes.txt", data)).parent.joinpath("link.cfg").symlink_to(path)
    _write(
        tmp_path / "p",
        "surrounded.py",
        b'"""A module."""\n' + data + b"\n# end\n" if data[:1] in b"-AakgxshKt/P" else data,
    )
    os.link(path, path.with_name("hard"))
    selection = select_files(tmp_path / "p")
    assert selection.files == []
    assert {item.name for item in selection.left_out} == {"notes.txt", "link.cfg", "hard", "surrounded.py"}


@pytest.mark.parametrize("data", _HARMLESS_CONTENTS, ids=range(len(_HARMLESS_CONTENTS)))
def test_code_about_secrets_travels(data: bytes) -> None:
    """Code that names keys, documentation's example keys, public keys and binary data travel."""
    assert secret_in(data) is None


@settings(max_examples=300)
@given(
    st.binary(max_size=3000),
    st.sampled_from([mark for _, mark, _ in secret_files._TOKENS]),
    st.binary(max_size=200),
)
def test_any_bytes_are_judged_without_an_error(before: bytes, mark: bytes, after: bytes) -> None:
    """Whatever a file holds, looking into it ends with a verdict."""
    secret_in(before + mark + after)


@pytest.mark.parametrize("mark", sorted({mark for _, mark, _ in secret_files._TOKENS}))
def test_a_hostile_file_does_not_hold_up_the_scan(mark: bytes) -> None:
    """A long file that repeats the beginning of a token is judged in less than a second."""
    for filler in (b"", b"A", b" ", b"-", b"\n", b"key = ", b"-----BEGIN "):
        data = (mark + filler) * (200_000 // len(mark + filler))
        begin = time.process_time()
        secret_in(data)
        assert time.process_time() - begin < 1


def test_a_link_to_a_secret_stays(tmp_path: Path) -> None:
    """A harmless name doesn't hide the name of what it links to."""
    _write(tmp_path / "p", "conf/.env")
    (tmp_path / "p" / "settings.txt").symlink_to(tmp_path / "p" / "conf" / ".env")
    assert [f.name for f in select_files(tmp_path / "p").files] == []


def test_a_user_can_say_that_a_file_is_no_secret(tmp_path: Path) -> None:
    """One line without wildcards in the project's own .rayformignore lets one file travel; a wildcard lets none."""
    for name in ("tests/fixture.pem", "other.pem", "data/kaggle.json"):
        _write(tmp_path / "p", name)
    _write(tmp_path / "p", ".rayformignore", b"!tests/fixture.pem\n!*.pem\n!data/*\n!**\n")
    travelling = [f.name for f in select_files(tmp_path / "p").files]
    assert travelling == [".rayformignore", "tests/fixture.pem"]


def test_what_a_project_ignores_is_not_reported(tmp_path: Path) -> None:
    """A secret that .gitignore names anyway needs no note."""
    _write(tmp_path / "p", ".gitignore", b".env\n")
    _write(tmp_path / "p", ".env")
    assert left_out_note(make_bundle(tmp_path / "p")) == ""


def test_a_note_names_what_stays_and_what_to_do(tmp_path: Path) -> None:
    """The note of a bundle names files and reasons, cuts long lists, and says how a file travels after all."""
    _write(tmp_path / "p", "notes.txt", _CONTENTS["AWS access key"])
    for number in range(12):
        _write(tmp_path / "p", f"{number:02}.pem")
    note = left_out_note(make_bundle(tmp_path / "p"))
    assert "00.pem (is named like a secret)" in note
    assert "and 3 more" in note
    assert "`!path/of/file` in .rayformignore" in note


def test_a_file_is_read_again_after_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged files aren't read again; a secret of the same size and time as the code before is found."""
    for number in range(30):
        _write(tmp_path / "p", f"m{number}.py", b"x" * 100)
    assert len(select_files(tmp_path / "p").files) == 30
    read = []
    monkeypatch.setattr(secret_files, "secret_in", lambda data: read.append(data) or secret_in(data))
    assert len(select_files(tmp_path / "p").files) == 30
    assert read == []
    path = tmp_path / "p" / "m3.py"
    before = path.stat()
    path.write_bytes(_CONTENTS["GitHub"].ljust(100))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [item.name for item in select_files(tmp_path / "p").left_out] == ["m3.py"]
    assert len(read) == 1
