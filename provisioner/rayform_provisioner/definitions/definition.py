"""The stack definition: the infrastructure that a user wants, read from YAML.

Every field's docstring is its description in the published JSON schema (`docs/schemas/stack.schema.json`, compared by
a test), which editors show while users type.

The keys describe AWS alone (its instance types, KMS keys, subnets); a second cloud brings its own sections.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from rayform_core.errors import NotFoundError
from rayform_core.files import storage_error
from rayform_provisioner.definitions.between_sections import problems_between
from rayform_provisioner.definitions.fields import (
    APPLIED,
    BucketName,
    GroupName,
    InstanceType,
    KmsKey,
    MachineImage,
    Name,
    RayVersion,
    Region,
    Section,
    Zone,
    is_applied,
    matching,
    refuse_others,
)
from rayform_provisioner.definitions.located import (
    DefinitionError,
    LocatedYaml,
    Mark,
    Problem,
    read_located_yaml,
)
from rayform_provisioner.definitions.located_errors import problems_of
from rayform_provisioner.definitions.network import ExistingNetwork, Network

__all__ = [
    "ArtifactStore",
    "Autostop",
    "Catalog",
    "Compute",
    "ContainerRegistry",
    "ExistingCatalog",
    "ExistingNetwork",
    "Head",
    "LoadedDefinition",
    "Network",
    "StackDefinition",
    "State",
    "WorkerGroup",
    "json_schema",
    "load_definition",
    "parse_definition",
    "parse_located",
]


class Head(Section):
    """The machine that runs Ray's head, the scheduler and the autoscaler."""

    instance_type: InstanceType = "m6i.large"
    """Instance type of the head."""
    disk_gb: Annotated[int, Field(ge=30, le=16384)] = 50
    """Size of its encrypted disk, in GB."""
    ami: MachineImage | None = None
    """Machine image: an AMI's ID, or `ssm:/…` for the parameter that holds one; by default Ubuntu's newest."""


class WorkerGroup(Section):
    """Machines of one kind, which Ray's autoscaler starts when steps need them and ends when they are idle."""

    instance_type: InstanceType
    """Instance type of each machine."""
    min: Annotated[int, Field(ge=0, le=1000)] = 0
    """Machines that always run."""
    max: Annotated[int, Field(ge=0, le=1000)] = 1
    """Most machines that run at the same time."""
    spot: bool = False
    """Use spot capacity: it costs half as much or less, and AWS may take it back with two minutes' notice."""
    disk_gb: Annotated[int, Field(ge=30, le=16384)] = 100
    """Size of each machine's encrypted disk, in GB."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs that steps may use on each machine; checked against the instance type."""
    idle_timeout_minutes: Annotated[int, Field(ge=1, le=1440)] = 5
    """Minutes after which an idle machine ends."""
    ami: MachineImage | None = None
    """Machine image, as for the head; by default Ubuntu's newest, with a GPU driver if `gpus` is set."""

    @field_validator("max")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min", 0)
        if value < least:
            raise ValueError(f"max ({value}) is below min ({least}); write {least} or more")
        return value


class Autostop(Section):
    """When an idle cluster stops; the head stops it itself, without a laptop or a server."""

    enabled: bool = True
    """Whether an idle head stops."""
    idle_minutes: Annotated[int, Field(ge=1, le=10080)] = 60
    """Minutes without a run after which the head stops; `rayform stack start` wakes it."""


class Compute(Section):
    """The Ray cluster."""

    ray_version: RayVersion = "2.60.0"
    """Ray's version on all machines; step images must have the same."""
    python_version: Literal["3.11", "3.12", "3.13"] = "3.11"
    """Python's version on all machines; step images must have the same."""
    head: Head = Head()
    """The head."""
    workers: dict[GroupName, WorkerGroup] = Field(default={}, max_length=20)
    """Worker groups by name."""
    autostop: Autostop = Autostop()
    """When an idle cluster stops."""

    @field_validator("workers")
    @classmethod
    def _not_head(cls, value: dict[str, WorkerGroup]) -> dict[str, WorkerGroup]:
        if "head" in value:
            raise ValueError("a worker group can't be called 'head'; choose another name")
        return value


class ArtifactStore(Section):
    """The bucket for artifacts, logs and bootstrap files."""

    versioning: bool = True
    """Keep old versions of overwritten and deleted objects."""
    kms_key_arn: KmsKey | None = None
    """KMS key that encrypts the bucket; by default S3's own keys do."""
    old_versions_days: Annotated[int, Field(ge=1, le=3650)] | None = 30
    """Days after which old versions are deleted; never if it is null."""
    incomplete_uploads_days: Annotated[int, Field(ge=1, le=365)] | None = 7
    """Days after which parts of unfinished uploads are deleted; never if it is null."""
    infrequent_access_days: Annotated[int, Field(ge=30, le=3650)] | None = None
    """Days after which artifacts move to cheaper storage; by default never."""
    expire_days: Annotated[int, Field(ge=1, le=36500)] | None = None
    """Days after which artifacts are deleted; by default never."""
    on_destroy: Literal["refuse", "keep", "delete"] = "refuse"
    """What `rayform stack destroy` does with a bucket that holds data, unless its flags say otherwise."""
    adopt: BucketName | None = None
    """Take over this bucket, which an earlier stack kept, instead of making a new one."""


class ContainerRegistry(Section):
    """The repository of step images."""

    immutable: bool = True
    """Refuse to overwrite a tag."""
    scan_on_push: bool = True
    """Scan every pushed image for known vulnerabilities."""
    keep_images: Annotated[int, Field(ge=1, le=10000)] = 100
    """Number of images to keep; older ones are deleted."""
    untagged_days: Annotated[int, Field(ge=1, le=3650)] = 7
    """Days after which untagged images are deleted."""
    kms_key_arn: KmsKey | None = None
    """KMS key that encrypts the repository; by default ECR's own key does."""
    adopt: Annotated[str, matching(r"^[a-z0-9]+([._/-][a-z0-9]+)*$", max_length=256)] | None = None
    """Take over this repository, which an earlier stack kept, instead of making a new one."""


class ExistingCatalog(Section):
    """An existing PostgreSQL server, such as one that several stacks share."""

    host: Annotated[str, matching(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
    """Host name or address at which the head reaches it."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """Its port."""
    database: Annotated[str, matching(r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)] = "rayform"
    """The database."""
    user: Annotated[str, matching(r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)] = "rayform"
    """The user."""
    secret_arn: Annotated[
        str, matching(r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+$")
    ]
    """Secret with the password: JSON with the key `password`."""


class Catalog(Section):
    """The PostgreSQL server that records runs, artifacts and models."""

    instance_class: Annotated[str, matching(r"^db\.[a-z0-9-]+\.[a-z0-9]+$")] = "db.t4g.micro"
    """RDS instance class."""
    postgres_version: Annotated[str, matching(r"^1[4-7](\.[0-9]+)?$")] = "16"
    """PostgreSQL's version: `"16"`, or `"16.4"` for one minor version."""
    storage_gb: Annotated[int, Field(ge=20, le=65536)] = 20
    """Size of its encrypted disk, in GB."""
    max_storage_gb: Annotated[int, Field(ge=20, le=65536)] | None = None
    """Size in GB up to which the disk grows by itself; by default 100, or `storage_gb` if that is larger."""
    backup_days: Annotated[int, Field(ge=0, le=35)] = 7
    """Days for which daily backups are kept; 0 turns backups off."""
    multi_az: bool = False
    """Run a second server in another zone, for twice the price."""
    deletion_protection: bool = False
    """Make AWS itself refuse to delete the server."""
    kms_key_arn: KmsKey | None = None
    """KMS key that encrypts the database; by default RDS's own key does."""
    restore_snapshot: Annotated[str, matching(r"^[A-Za-z](-?[A-Za-z0-9])*$", max_length=255)] | None = None
    """Start from this snapshot, which an earlier stack kept."""
    existing: ExistingCatalog | None = None
    """Use an existing PostgreSQL server; no other setting of `catalog` goes with it."""

    @field_validator("max_storage_gb")
    @classmethod
    def _room_to_grow(cls, value: int | None, info: ValidationInfo) -> int | None:
        size = info.data.get("storage_gb", 20)
        if value is None or value == size:
            return value
        if value < size:
            raise ValueError(f"max_storage_gb ({value}) is below storage_gb ({size}); write {size} or more")
        if is_applied(info):
            return value
        least = (size * 11 + 9) // 10
        if value < least:
            raise ValueError(
                f"max_storage_gb ({value}) is less than 10 % above storage_gb ({size}), and RDS refuses that; "
                f"write {least} or more, or {size} for a disk that doesn't grow"
            )
        return value

    @field_validator("existing")
    @classmethod
    def _alone(cls, value: ExistingCatalog | None, info: ValidationInfo) -> ExistingCatalog | None:
        return refuse_others(value, info, cls, "an existing server")


class State(Section):
    """Where Terraform keeps its state."""

    backend: Literal["local", "s3"] = "local"
    """`local`: a private folder on this machine. `s3`: a bucket with locking, for a team."""
    bucket: BucketName | None = None
    """Bucket for the state; it must exist, and can't be the stack's own."""
    region: Region | None = None
    """Region of that bucket; by default the stack's."""
    prefix: Annotated[str, matching(r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=200)] = "rayform"
    """Key prefix of the state in that bucket."""

    @field_validator("bucket")
    @classmethod
    def _only_for_s3(cls, value: str | None, info: ValidationInfo) -> str | None:
        backend = info.data.get("backend", "local")
        if value is not None and backend == "local":
            raise ValueError("only backend s3 has a bucket; write `backend: s3` or leave the bucket out")
        return value

    def model_post_init(self, context: object, /) -> None:
        if self.backend == "s3" and self.bucket is None:
            raise ValueError("backend s3 needs a bucket; write `bucket: NAME`")


class StackDefinition(Section):
    """The infrastructure of one stack."""

    version: Literal[1] = 1
    """Version of this format."""
    name: Name
    """The stack's name: 1 to 24 lower-case letters, digits and hyphens."""
    provider: Literal["aws"] = "aws"
    """The cloud."""
    region: Region
    """The cloud's region."""
    zones: Annotated[list[Zone], Field(min_length=2, max_length=8)] | None = None
    """Availability zones; by default the region's first two."""
    owner: Annotated[str, matching(r"^[\w .:/=+@-]+$", max_length=256)]
    """Who is responsible for the stack: a tag on every resource."""
    tags: dict[
        Annotated[str, matching(r"^[\w .:/=+@-]+$", max_length=128)],
        Annotated[str, matching(r"^[\w .:/=+@-]*$", max_length=256)],
    ] = Field(default={}, max_length=30)
    """More tags for every resource."""
    network: Network = Network()
    """The network that the machines are in, and who may reach them."""
    compute: Compute = Compute()
    """The Ray cluster."""
    artifact_store: ArtifactStore = ArtifactStore()
    """The bucket for artifacts, logs and bootstrap files."""
    container_registry: ContainerRegistry = ContainerRegistry()
    """The repository of step images."""
    catalog: Catalog = Catalog()
    """The PostgreSQL server that records runs, artifacts and models."""
    state: State = State()
    """Where Terraform keeps its state."""

    @field_validator("zones")
    @classmethod
    def _zones_of_region(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        region = info.data.get("region")
        for zone in value or []:
            if region and not zone.startswith(region):
                raise ValueError(f"zone '{zone}' is not in region '{region}'; write one such as {region}a")
        if value and len(set(value)) != len(value):
            raise ValueError("a zone is there twice; name two different ones")
        return value

    @field_validator("owner")
    @classmethod
    def _no_spaces_around(cls, value: str, info: ValidationInfo) -> str:
        if value != value.strip() and not is_applied(info):
            raise ValueError("it starts or ends with a space, which AWS cuts off; leave it out")
        return value

    @field_validator("name")
    @classmethod
    def _not_the_local_stack(cls, value: str) -> str:
        if value == "default":
            raise ValueError(
                "'default' is the name of the local stack, which always exists; choose another name"
            )
        return value

    @field_validator("tags")
    @classmethod
    def _own_tags(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        folded: dict[str, str] = {}
        for key in value:
            if key.casefold() in folded:
                raise ValueError(
                    f"IAM ignores case, so tags '{folded[key.casefold()]}' and '{key}' are the same to it; "
                    "keep one of them"
                )
            folded[key.casefold()] = key
            if re.match(r"(?i)(aws:|rayform:|ray-)", key):
                raise ValueError(
                    f"tag '{key}' starts with a prefix that AWS, Ray or Rayform uses; choose another name"
                )
            if (key, value[key]) != (key.strip(), value[key].strip()) and not is_applied(info):
                raise ValueError(f"tag '{key}' starts or ends with a space, which AWS cuts off; leave it out")
            if key.casefold() == "name":
                raise ValueError(f"Rayform sets tag '{key}' on each resource; choose another name")
        return value


@dataclass(frozen=True, slots=True)
class LoadedDefinition:
    """A definition with the text that it was read from, so that later checks can point at a line.

    Args:
        definition: the definition itself.
        located: the text's keys and values with their places.
        source: the file's name, for errors.
        text: the text itself, with its comments.
    """

    definition: StackDefinition
    located: LocatedYaml
    source: str
    text: str


def parse_definition(text: str, source: str = "definition") -> StackDefinition:
    """Read a definition from YAML text.

    Args:
        text: the YAML.
        source: its name, for errors.

    Raises:
        DefinitionError: it is wrong; the error has line and column of every problem.

    Example:
        >>> parse_definition("name: demo\\nregion: eu-central-1\\nowner: me").compute.head.disk_gb
        50
    """
    return parse_located(text, source).definition


def parse_located(text: str, source: str = "definition", *, applied: bool = False) -> LoadedDefinition:
    """As `parse_definition`, and keep the place of every key and value.

    With `applied`, the definition was deployed, and rules that came later don't count.
    """
    located = read_located_yaml(text, source)
    try:
        definition = StackDefinition.model_validate(
            located.data if located.data is not None else {}, context=APPLIED if applied else None
        )
    except ValidationError as error:
        raise DefinitionError(source, problems_of(error, located, StackDefinition)) from None
    problems = [] if applied else problems_between(definition, located)
    if problems:
        raise DefinitionError(source, problems)
    return LoadedDefinition(definition, located, source, text)


def load_definition(path: Path, *, applied: bool = False) -> LoadedDefinition:
    """Read the definition in the file `path`; as `parse_located`.

    Raises:
        NotFoundError: there is no such file.
        DefinitionError: it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = [p.name for pattern in ("*.yaml", "*.yml") for p in path.parent.glob(pattern)]
        raise NotFoundError(
            "stack definition",
            str(path),
            known=near,
            hint=None if near else "`rayform stack init` writes one.",
        ) from None
    except UnicodeDecodeError as error:
        before = path.read_bytes()[: error.start]
        mark = Mark(before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1)
        raise DefinitionError(
            str(path), [Problem("", mark, "The file is not UTF-8 text.", "Save it as UTF-8.")]
        ) from None
    except OSError as error:
        raise storage_error(error, path) from error
    return parse_located(text, str(path), applied=applied)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a definition, for editors."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rayform stack definition",
        **StackDefinition.model_json_schema(),
    }
    in_order: dict[str, Any] = json.loads(json.dumps(schema, sort_keys=True))
    return in_order
