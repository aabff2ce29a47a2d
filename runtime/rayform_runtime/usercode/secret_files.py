# ruff: noqa: E501 - each pattern stands in one line
"""How files with secrets are told from code: by their names, and by what stands in them.

The names are those that the rules of gitleaks, GitHub's secret scanning and common `.gitignore` templates agree on; the
content rules are the documented forms of keys and tokens that can't be taken for anything else. A rule that matches
ordinary code would break runs, so guesses (entropy, words such as "password") are none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

from rayform_core.errors import PrerequisiteError
from rayform_core.files import home, write_atomically
from rayform_core.version import __version__

__all__ = ["SECRET_NAMES", "SecretScan", "secret_in"]

SECRET_NAMES = (
    # Environment files
    ".env", ".env.*", "*.env", ".envrc", ".flaskenv", "!.env.example", "!.env.sample", "!.env.template", "!.env.dist",
    # Private keys and key stores
    "*.pem", "*.key", "*.p12", "*.pfx", "*.pkcs12", "*.jks", "*.keystore", "*.ppk", "*.kdb", "*.kdbx", "*.keytab",
    "*.agekey", "*.ovpn", "*.p8", "id_rsa*", "id_dsa*", "id_ed25519*", "id_ecdsa*", "krb5cc_*", "secring.*", ".gnupg/", ".ssh/",
    # Logins of tools
    ".netrc", "_netrc", ".git-credentials", ".gitcookies", ".npmrc", ".yarnrc.yml", ".pypirc", ".htpasswd", ".pgpass",
    "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".s3cfg", ".boto", ".dockercfg", ".docker/", ".dockerconfigjson",
    "**/.cargo/credentials*", "**/.gem/credentials", "**/.m2/settings.xml", ".databrickscfg", ".snowsql/", ".kaggle/", "kaggle.json",
    ".huggingface/", ".vault-token", ".vault_pass*", ".terraformrc", "terraform.rc", "credentials.tfrc.json", ".msmtprc",
    ".fetchmailrc", "sftp-config.json", ".ftpconfig", "filezilla.xml", "recentservers.xml", "auth.json", ".composer/",
    # Clouds and clusters
    ".aws/", ".azure/", "**/.config/gcloud/", ".gcloud/", ".oci/", ".kube/", "kubeconfig", "*.kubeconfig", "kubeconfig.y*ml",
    "*service-account*.json", "*service_account*.json", "*serviceaccount*.json", "application_default_credentials.json",
    "client_secret*.json", "credentials", "credentials.json", "credentials.csv", "*accesskeys.csv", "rootkey.csv",
    # State and variables of Terraform hold secrets
    "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json",
    # Files that say so
    "secrets.json", "secrets.toml", "secrets.y*ml", "secrets.ini", "secrets.env", "secret.json", "secret.toml", "secret.y*ml",
    ".secrets", ".secrets.*", ".secrets/",
    # What was typed into shells and databases
    ".bash_history", ".zsh_history", ".sh_history", ".python_history", ".psql_history", ".mysql_history",
    ".sqlite_history", ".node_repl_history",
)  # fmt: skip
"""Patterns as in `.gitignore`, in lower case."""

_READ_AT_MOST = 1024 * 1024
"""Bytes of a file that are looked at: a file of code isn't longer."""
_WORTH_SAVING = 20
"""Files; reading fewer takes about as long as writing the result."""

_TOKENS: tuple[tuple[str, bytes, bytes], ...] = (
    # What it is, bytes that it must hold (fast to look for), and its form
    ("a private key", b"PRIVATE KEY", rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\\+[rn]|[\s\"'+,])*"
     rb"(?:[A-Za-z-]+: [^\n]*(?:\\+[rn]|\s)+)*[A-Za-z0-9+/]{20}"),
    ("a private key", b"PuTTY-User-Key-File", rb"PuTTY-User-Key-File-\d:"),
    ("a private key", b"AGE-SECRET-KEY-1", rb"AGE-SECRET-KEY-1[0-9A-Z]{50}"),
    *(("an AWS access key", prefix, rb"(?<![A-Za-z0-9])" + prefix + rb"(?![A-Z0-9]{9}EXAMPLE)[A-Z2-7]{16}(?![A-Za-z0-9])")
      for prefix in (b"AKIA", b"ASIA", b"ABIA", b"ACCA")),
    ("an AWS secret key", b"ecret", rb"(?i)aws_?secret_?(?:access_?)?key[\"']?\s{0,4}[=:]\s{0,4}[\"']?(?![A-Za-z0-9/+]{30,33}EXAMPLEKEY)"
     rb"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"),
    ("an Azure storage key", b"AccountKey=", rb"AccountKey=[A-Za-z0-9+/]{86}=="),
    ("a Google API key", b"AIza", rb"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ("a Google OAuth secret", b"GOCSPX-", rb"GOCSPX-[A-Za-z0-9_-]{28}"),
    *(("a GitHub token", prefix, prefix + rb"[A-Za-z0-9]{36}") for prefix in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")),
    ("a GitHub token", b"github_pat_", rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    *(("a GitLab token", prefix, prefix + rb"[A-Za-z0-9_-]{20}")
      for prefix in (b"glpat-", b"gldt-", b"glft-", b"glsoat-", b"glrt-", b"glcbt-", b"glptt-", b"glagent-")),
    ("a Hugging Face token", b"hf_", rb"(?<![A-Za-z0-9_])hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
    ("an npm token", b"npm_", rb"(?<![A-Za-z0-9_])npm_[A-Za-z0-9]{36}"),
    ("an npm token", b":_authToken", rb":_authToken\s*=\s*(?!\$)[A-Za-z0-9_=/+-]{20}"),
    ("a PyPI token", b"pypi-AgE", rb"pypi-AgE[A-Za-z0-9_-]{60}"),
    ("a Slack token", b"xox", rb"xox[abposre](?:-[A-Za-z0-9]{4,}){2,}"),
    ("a Slack token", b"xapp-", rb"xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{30}"),
    ("a Slack webhook", b"hooks.slack.com", rb"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Z0-9]{8,}/[A-Za-z0-9/]{20}"),
    *(("a Stripe key", prefix, prefix + rb"[A-Za-z0-9]{20}") for prefix in (b"sk_live_", b"rk_live_")),
    ("a SendGrid key", b"SG.", rb"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("a Square secret", b"sq0csp-", rb"sq0csp-[A-Za-z0-9_-]{43}"),
    ("an OpenAI key", b"T3BlbkFJ", rb"sk-[A-Za-z0-9_-]*[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
    ("an Anthropic key", b"sk-ant-", rb"sk-ant-[a-z0-9]{3,12}-[A-Za-z0-9_-]{80}"),
    ("a Databricks token", b"dapi", rb"(?<![A-Za-z0-9])dapi[a-f0-9]{32}(?![a-f0-9])"),
    ("a DigitalOcean token", b"do", rb"do[opr]_v1_[a-f0-9]{64}"),
    ("a Vault token", b"hvs.", rb"(?<![A-Za-z0-9])hvs\.[A-Za-z0-9_-]{90}"),
    ("a Terraform Cloud token", b".atlasv1.", rb"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60}"),
)  # fmt: skip
_FORMS = tuple((what, mark, re.compile(form)) for what, mark, form in _TOKENS)
_PKCS12 = re.compile(
    rb"\x30[\x80-\x84][\x00-\xff]{0,4}\x02\x01\x03\x30[\x00-\xff]{1,6}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
)
_JAVA_KEY_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_WIDE = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def secret_in(data: bytes) -> str | None:
    """Return what kind of secret stands in a file's bytes, such as `"an AWS access key"`, or `None`.

    Example:
        >>> secret_in(b"print('hello')")
    """
    if data.startswith(_JAVA_KEY_STORES) or _PKCS12.match(data):
        return "a key store"
    for mark, encoding in _WIDE:  # what Windows' editors and shells write
        if data.startswith(mark):
            data = data[2:].decode(encoding, "ignore").encode()
    for what, mark, form in _FORMS:
        if mark in data and form.search(data):
            return what
    return None


class SecretScan:
    """Looks into the files of one project for secrets.

    Args:
        root: the project's folder.
    """

    def __init__(self, root: Path) -> None:
        name = hashlib.blake2b(os.fsencode(root), digest_size=16).hexdigest()
        self._place = home() / "cache" / "secrets" / f"{name}.json"
        self._known = self._read()  # what earlier scans found, by path and stamp
        self._seen: dict[str, str | None] = {}  # the same of this scan; replaces the file in `save`
        self._new = 0  # files that had to be read

    def kind(self, path: Path, status: os.stat_result) -> str | None:
        """Return what kind of secret a file holds, or `None`.

        Args:
            path: the file.
            status: its status; a file with the same path, size, times and inode isn't read again.
        """
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        key = f"{'-'.join(map(str, facts))} {path}"
        if key in self._known:
            kind = self._known[key]
        else:
            self._new += 1
            try:
                with path.open("rb") as file:
                    kind = secret_in(file.read(_READ_AT_MOST))
            except OSError:
                return None  # packing it says why it can't be read
        self._seen[key] = kind
        return kind

    def save(self) -> None:
        """Remember the results, if it is worth it; a disk that takes nothing costs the next bundle time."""
        if self._new < _WORTH_SAVING:
            return
        try:
            write_atomically(self._place, json.dumps({"version": __version__, "files": self._seen}))
        except (PrerequisiteError, ValueError):
            pass  # The next bundle reads the files again.

    def _read(self) -> dict[str, str | None]:
        try:
            data = json.loads(self._place.read_bytes())
            files = data["files"] if data["version"] == __version__ else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        return files if isinstance(files, dict) else {}
