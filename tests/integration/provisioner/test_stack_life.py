# ruff: noqa: E501
"""A stack's whole life on a moto server, by the real Terraform and provider."""

from __future__ import annotations

import json
import os

import pytest
from support.iam_policies import allowed, role_policies

from rayform.cli.stack.lifecycle import how_to_adopt
from rayform_core.errors import ConflictError
from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.health import health as look
from rayform_provisioner.definitions.definition import load_definition
from rayform_provisioner.leftovers import LeftoversError
from rayform_provisioner.lifecycle import Lifecycle
from rayform_provisioner.targets import resolve_target
from rayform_provisioner.terraform.errors import ErrorKind, TerraformError

pytestmark = [pytest.mark.terraform, pytest.mark.moto, pytest.mark.slow, pytest.mark.timeout(900)]

OWN_CATALOG = bool(os.environ.get("RAYFORM_KEPT_CATALOG"))
"""Whether the kept stack has a database of its own, for which the provider waits four minutes in all."""


def test_deploy_drift_change_data_and_destroy(stack_home, endpoints, lean):
    """A stack is planned, deployed, seen to drift, changed, refused to be destroyed with data, and leaves nothing."""
    target = resolve_target(str(endpoints))
    path = lean()
    loaded = load_definition(path)
    stack = Lifecycle("lean", target)
    shown = []

    assert stack.deploy(loaded, lambda summary: shown.append(summary) or False) is None
    assert shown[0].changes, "a plan that is declined was shown"
    assert {change.action for change in shown[0].changes} == {"create"}
    reference = stack.folder.existing().reference
    assert not stack.leftovers.inventory(stack.folder.existing(), loaded.definition), (
        "a declined plan makes nothing"
    )

    outputs = stack.deploy(loaded, lambda summary: True)
    assert outputs["reference"] == reference
    assert stack.registration()["artifact_store"]["config"]["bucket"] == outputs["bucket"]

    # Every resource that can bear a tag bears the stack's.
    ec2 = client(target, "ec2", "eu-central-1")
    head = ec2.describe_instances(InstanceIds=[outputs["head_instance_id"]])["Reservations"][0]["Instances"][
        0
    ]
    tags = {tag["Key"]: tag["Value"] for tag in head["Tags"]}
    assert tags["rayform:stack"] == tags["ray-cluster-name"] == reference
    assert tags["ray-node-type"] == "head"

    # No secret is in the state, and the token is in Secrets Manager.
    secret = client(target, "secretsmanager", "eu-central-1").get_secret_value(
        SecretId=outputs["ray_token_secret_arn"]
    )
    state = (stack.folder.work / "terraform.tfstate").read_text()
    assert len(secret["SecretString"]) == 48
    assert secret["SecretString"] not in state
    assert stack.folder.path.stat().st_mode & 0o077 == 0

    # What machines read at boot is in the bucket.
    s3 = client(target, "s3", "eu-central-1")
    settings = json.loads(
        s3.get_object(Bucket=outputs["bucket"], Key="system/bootstrap/stack.json")["Body"].read()
    )
    assert settings["worker_groups"]["gpu"]["accelerator_type"] == "T4"
    assert settings["worker_groups"]["gpu"]["launch_template"] == outputs["launch_templates"]["gpu"]
    assert settings["ray_token_secret"] in outputs["ray_token_secret_arn"]

    check_roles(target, outputs, settings)

    # Deploying again does nothing; a change behind Terraform's back is seen, resource by resource.
    assert not stack.drift().changes
    s3.put_bucket_versioning(Bucket=outputs["bucket"], VersioningConfiguration={"Status": "Suspended"})
    ec2.create_tags(Resources=[outputs["vpc_id"]], Tags=[{"Key": "by-hand", "Value": "yes"}])
    drifted = {change.address: change for change in stack.drift().changes}
    assert set(drifted) == {"module.bucket.aws_s3_bucket_versioning.this", "module.network.aws_vpc.this[0]"}
    assert any("by-hand" in field for field in drifted["module.network.aws_vpc.this[0]"].fields)
    health = look(target, "eu-central-1", outputs, loaded.definition)
    assert health.healthy
    assert health.hourly > 0

    # After a kill right after the VPC was made, the VPC's default group is imported and never removed: EC2 makes no new one.
    only = [{"Name": "vpc-id", "Values": [outputs["vpc_id"]]}, {"Name": "group-name", "Values": ["default"]}]
    state_file = stack.folder.work / "terraform.tfstate"
    state = json.loads(state_file.read_text())
    state["resources"] = [item for item in state["resources"] if item["type"] != "aws_default_security_group"]
    state["serial"] += 1
    state_file.write_text(json.dumps(state))
    record = stack.folder.existing()
    record.status = "deploying"
    stack.folder.save(record)
    stack.deploy(loaded, lambda summary: True)
    assert len(ec2.describe_security_groups(Filters=only)["SecurityGroups"]) == 1
    assert "aws_default_security_group" in state_file.read_text()

    # A changed definition changes only what differs, and corrects the drift. More tags than an object of S3 may have are fine.
    many = ", ".join(f"team/{number} of us: vision" for number in range(9))
    changed = load_definition(lean(more=f"tags: {{{many}}}\n"))
    seen = []
    stack.deploy(changed, lambda summary: seen.extend(summary.changes) or True)
    assert {change.action for change in seen} == {"update"}
    assert s3.get_bucket_versioning(Bucket=outputs["bucket"])["Status"] == "Enabled"

    # A change that would take data away is refused.
    replaced = lean(more=f"tags: {{{many}}}\n")
    replaced.write_text(
        replaced.read_text().replace(
            "old_versions_days: null", "adopt: somebody-elses, old_versions_days: null"
        )
    )
    s3.create_bucket(
        Bucket="somebody-elses", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    with pytest.raises(ConflictError, match="take data away"):
        stack.deploy(load_definition(replaced), lambda summary: True)
    s3.delete_bucket(Bucket="somebody-elses")

    # A worker that Ray started, and an artifact.
    template = outputs["launch_templates"]["gpu"]
    ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": template})
    s3.put_object(Bucket=outputs["bucket"], Key="artifacts/a/data", Body=b"12345")
    assert look(target, "eu-central-1", outputs, loaded.definition).workers == {"g4dn.xlarge": 1}
    with pytest.raises(ConflictError, match="1 object, 5 bytes"):
        stack.destroy(lambda summary: True)
    assert s3.get_object(Bucket=outputs["bucket"], Key="artifacts/a/data")["Body"].read() == b"12345"
    assert look(target, "eu-central-1", outputs, loaded.definition).healthy, "nothing was touched"

    # What someone removed by hand is no hindrance, though a destroy takes the state at its word at first.
    ec2.delete_key_pair(KeyName=reference)
    ec2.delete_launch_template(LaunchTemplateName=template)
    holdings = []
    assert stack.destroy(lambda summary: holdings.append(summary.holdings) or True, delete_data=True) == []
    assert holdings[0]["bucket"].startswith("1 object")
    record = json.loads(json.dumps({"region": "eu-central-1", "reference": reference}))
    assert left_in(target, record["reference"]) == []
    entries = stack.folder.history()
    assert [(e.operation, e.result) for e in entries] == [
        ("deploy", "done"),
        ("deploy", "done"),
        ("deploy", "done"),
        ("destroy", "done"),
    ]
    assert entries[0].added > 40
    assert entries[-1].removed > 40


def test_keep_data_and_adopt_it_again(stack_home, endpoints, leaner):
    """`keep_data` keeps bucket, registry and catalog, and a new stack takes over what its words say."""
    target = resolve_target(str(endpoints))
    s3, ecr = client(target, "s3", "eu-central-1"), client(target, "ecr", "eu-central-1")
    rds = client(target, "rds", "eu-central-1")

    def definition(name, *more):
        path = leaner(name)
        text = path.read_text()
        if OWN_CATALOG:
            text = text[: text.index("catalog:")] + text[text.index("compute:") :]
        for line in more:
            section, setting = line.split(": ", 1)
            setting = setting.strip("{}")
            if f"{section}: {{" in text:
                text = text.replace(f"{section}: {{", f"{section}: {{{setting}, ")
            else:
                text += f"{section}: {{{setting}}}\n"
        path.write_text(text)
        return load_definition(path)

    stack = Lifecycle("keeper", target)
    outputs = stack.deploy(definition("keeper"), lambda summary: True)
    s3.put_object(Bucket=outputs["bucket"], Key="artifacts/a/data", Body=b"kept")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config = {"digest": "sha256:" + "0" * 64, "size": 2}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []})
    ecr.put_image(repositoryName=outputs["registry_name"], imageManifest=manifest, imageTag="step")
    kept = stack.destroy(lambda summary: True, keep_data=True)
    snapshot = [f"{outputs['reference']}-catalog-final"] if OWN_CATALOG else []
    assert kept == sorted([outputs["bucket"], outputs["registry_name"], *snapshot])
    assert s3.get_object(Bucket=outputs["bucket"], Key="artifacts/a/data")["Body"].read() == b"kept"
    left = {item.kind for item in left_in(target, outputs["reference"])}
    assert left - {"aws_db_snapshot"} == {"aws_s3_bucket", "aws_ecr_repository"}

    # Adopted by the very words that `rayform stack destroy` prints.
    words = [how_to_adopt(item).split("`")[1] for item in kept]
    heir = Lifecycle("heir", target)
    heirs = heir.deploy(definition("heir", *words), lambda summary: True)
    assert (heirs["bucket"], heirs["registry_name"]) == (outputs["bucket"], outputs["registry_name"])
    assert s3.get_object(Bucket=heirs["bucket"], Key="artifacts/a/data")["Body"].read() == b"kept"
    assert ecr.list_images(repositoryName=heirs["registry_name"])["imageIds"][0]["imageTag"] == "step"
    if OWN_CATALOG:
        database = rds.describe_db_instances(DBInstanceIdentifier=heirs["catalog_identifier"])["DBInstances"][
            0
        ]
        assert database["DBInstanceStatus"] == "available"
        assert database["MasterUserSecret"]["SecretArn"] == heirs["catalog_secret_arn"]
    assert not heir.drift().changes, "an adopted stack is as its definition says"

    # A lost key: the next deploy replaces the head, and takes nothing away that holds data.
    heir.folder.key_file.unlink()
    heir.replace_key()
    replaced = heir.plan(definition("heir", *words))
    addresses = {change.address for change in replaced.changes if change.action == "replace"}
    assert {"module.compute.aws_key_pair.this", "module.compute.aws_instance.head"} <= addresses
    assert replaced.data_at_risk == []

    heir.destroy(lambda summary: True, delete_data=True)
    assert left_in(target, heirs["reference"]) == []
    if OWN_CATALOG:
        rds.delete_db_snapshot(DBSnapshotIdentifier=snapshot[0])
    assert left_in(target, outputs["reference"]) == []


def test_failure_names_resource_kind_and_sentence(stack_home, endpoints, leaner):
    """A name that is taken is reported as such, with the resource; the next deploy continues where this one stopped."""
    target = resolve_target(str(endpoints))
    loaded = load_definition(leaner("taken"))
    stack = Lifecycle("taken", target)
    stack.plan(loaded)
    reference = stack.folder.existing().reference
    ec2 = client(target, "ec2", "eu-central-1")
    ec2.create_key_pair(KeyName=reference)
    with pytest.raises(TerraformError) as caught:
        stack.deploy(loaded, lambda summary: True)
    assert caught.value.resource == "module.compute.aws_key_pair.this"
    assert caught.value.kind == ErrorKind.EXISTS
    assert "already exists" in str(caught.value.why)
    assert stack.folder.history()[-1].result == "failed"
    ec2.delete_key_pair(KeyName=reference)
    stack.deploy(loaded, lambda summary: True)
    stray = ec2.create_volume(
        AvailabilityZone="eu-central-1a", Size=8, TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "rayform:stack", "Value": reference}]}]
    )  # fmt: skip
    # A snapshot that carries the stack's tag, as copies of its database do, is its maker's.
    others = ec2.create_volume(AvailabilityZone="eu-central-1a", Size=8)["VolumeId"]
    snapshot = ec2.create_snapshot(
        VolumeId=others, TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "rayform:stack", "Value": reference}]}]
    )["SnapshotId"]  # fmt: skip
    with pytest.raises(LeftoversError, match=stray["VolumeId"]):
        stack.destroy(lambda summary: True, delete_data=True)
    assert stack.destroy(lambda summary: True, delete_data=True) == []
    assert [item.id for item in stack.others_left] == [snapshot]
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert left_in(target, reference) == []


def check_roles(target, outputs, settings):
    """The roles may do what the cluster needs, and only on this stack."""
    reference, bucket = outputs["reference"], f"arn:aws:s3:::{outputs['bucket']}"
    iam, ec2 = client(target, "iam", "eu-central-1"), client(target, "ec2", "eu-central-1")
    head, worker = role_policies(iam, f"{reference}-head"), role_policies(iam, f"{reference}-worker")
    account = "arn:aws:ec2:eu-central-1:123456789012"
    token = outputs["ray_token_secret_arn"]
    template = ec2.describe_launch_templates(LaunchTemplateNames=[outputs["launch_templates"]["gpu"]])[
        "LaunchTemplates"
    ][0]
    launch = {"ec2:LaunchTemplate": f"{account}:launch-template/{template['LaunchTemplateId']}"}
    ours, others = (
        {"aws:ResourceTag/rayform:stack": reference},
        {"aws:ResourceTag/rayform:stack": "other-1a2b3c4d"},
    )
    group = settings["worker_groups"]["gpu"]

    for role in (head, worker):
        assert allowed(role, "s3:GetObject", f"{bucket}/artifacts/x")
        assert allowed(role, "s3:PutObject", f"{bucket}/artifacts/x")
        assert allowed(role, "s3:ListBucket", bucket)
        assert allowed(role, "s3:GetObject", f"{bucket}/system/bootstrap/stack.json")
        assert not allowed(role, "s3:PutObject", f"{bucket}/system/bootstrap/rayform.whl"), (
            "code that runs as root"
        )
        assert not allowed(role, "s3:GetObject", "arn:aws:s3:::other-bucket/x")
        assert not allowed(role, "s3:DeleteBucket", bucket)
        assert not allowed(role, "s3:PutBucketPolicy", bucket)
        assert allowed(role, "secretsmanager:GetSecretValue", token)
        assert not allowed(role, "secretsmanager:GetSecretValue", token.replace(reference, "other-1a2b3c4d"))
        assert not allowed(role, "secretsmanager:PutSecretValue", token)
        assert allowed(
            role,
            "ecr:BatchGetImage",
            f"arn:aws:ecr:eu-central-1:123456789012:repository/{outputs['registry_name']}",
        )
        assert not allowed(
            role,
            "ecr:PutImage",
            f"arn:aws:ecr:eu-central-1:123456789012:repository/{outputs['registry_name']}",
        )
        assert not allowed(role, "iam:CreateUser", "arn:aws:iam::123456789012:user/x")
        assert not allowed(role, "sts:AssumeRole", "arn:aws:iam::123456789012:role/admin")

    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    worker_role = iam.get_role(RoleName=f"{reference}-worker")["Role"]["Arn"]
    head_role = iam.get_role(RoleName=f"{reference}-head")["Role"]["Arn"]
    check_starts(head, worker, account, launch, group, reference)
    assert allowed(head, "iam:PassRole", worker_role, passed)
    assert not allowed(head, "iam:PassRole", head_role, passed), "a worker never gets the head's rights"
    assert not allowed(head, "iam:PassRole", worker_role, {"iam:PassedToService": "lambda.amazonaws.com"})
    instance = f"{account}:instance/i-1"
    for action in ("ec2:TerminateInstances", "ec2:StopInstances"):
        assert allowed(head, action, instance, ours)
        assert not allowed(head, action, instance, others)
        assert not allowed(worker, action, instance, ours)
    assert allowed(head, "ec2:CreateTags", instance, {**ours, "aws:TagKeys": ["ray-node-status"]})
    assert not allowed(head, "ec2:CreateTags", instance, {**others, "aws:TagKeys": ["ray-node-status"]})
    assert not allowed(head, "ec2:CreateTags", instance, {**ours, "aws:TagKeys": ["rayform:stack"]}), (
        "its own tag"
    )
    started = {"ec2:CreateAction": "RunInstances"}
    assert allowed(head, "ec2:CreateTags", instance, {**started, "aws:RequestTag/rayform:stack": reference})
    assert not allowed(head, "ec2:CreateTags", instance, started)
    assert not allowed(
        head, "ec2:CreateTags", instance, {**started, "aws:RequestTag/rayform:stack": "other-1a2b3c4d"}
    )
    assert allowed(head, "ec2:DescribeInstances", "*")
    assert not allowed(worker, "ec2:DescribeInstances", "*")


def check_starts(head, worker, account, launch, group, reference):
    """The head starts workers as Ray asks for them, and nothing that differs in one point."""
    tagged = {"aws:RequestTag/rayform:stack": reference}
    template = {**launch, "ec2:IsLaunchTemplateResource": "true"}
    # What EC2 checks for one RunInstances of Ray's autoscaler: each resource with the keys that EC2 sets for it.
    # Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon EC2".
    request = {
        f"arn:aws:ec2:eu-central-1::image/{group['image_id']}": template,
        f"{account}:key-pair/{reference}": template,
        f"{account}:security-group/{group['security_group_ids'][0]}": template,
        launch["ec2:LaunchTemplate"]: template,
        f"{account}:instance/*": {
            **launch, **tagged, "ec2:InstanceType": group["instance_type"], "ec2:IsLaunchTemplateResource": "false"
        },
        f"{account}:volume/*": {**launch, **tagged, "ec2:IsLaunchTemplateResource": "false"},
        f"{account}:network-interface/*": {**launch, "ec2:IsLaunchTemplateResource": "false"},
        f"{account}:subnet/{group['subnet_ids'][0]}": {**launch, "ec2:IsLaunchTemplateResource": "false"},
        f"{account}:spot-instances-request/*": launch,
    }  # fmt: skip
    other = {"ec2:LaunchTemplate": f"{account}:launch-template/lt-0"}
    for resource, context in request.items():
        assert allowed(head, "ec2:RunInstances", resource, context), resource
        assert not allowed(worker, "ec2:RunInstances", resource, context)
        assert not allowed(head, "ec2:RunInstances", resource, {**context, **other}), "another template"
        without = {key: value for key, value in context.items() if key != "ec2:LaunchTemplate"}
        assert not allowed(head, "ec2:RunInstances", resource, without), "no template"
    overridden = {**launch, "ec2:IsLaunchTemplateResource": "false"}
    for resource in list(request)[:4]:
        assert not allowed(head, "ec2:RunInstances", resource, overridden), "replaced in the request"
    instance = request[f"{account}:instance/*"]
    for wrong in (
        {"ec2:InstanceType": "p5.48xlarge"},
        {"aws:RequestTag/rayform:stack": "other-1a2b3c4d"},
        {"aws:RequestTag/rayform:stack": None},
    ):
        context = {key: value for key, value in {**instance, **wrong}.items() if value is not None}
        assert not allowed(head, "ec2:RunInstances", f"{account}:instance/*", context), wrong
    for wrong in (
        "subnet/subnet-elsewhere",
        "security-group/sg-elsewhere",
        "key-pair/mine",
        "dedicated-host/h-1",
    ):
        assert not allowed(head, "ec2:RunInstances", f"{account}:{wrong}", {**template, **tagged}), wrong
    assert not allowed(head, "ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-elsewhere", template)
    for action in ("ec2:ModifyInstanceAttribute", "ec2:CreateLaunchTemplateVersion", "ec2:RequestSpotInstances",
                   "ec2:AssociateIamInstanceProfile", "ec2:DeleteTags", "ec2:CreateFleet"):  # fmt: skip
        for resource in request:
            everything = {**template, **tagged, "aws:ResourceTag/rayform:stack": reference}
            assert not allowed(head, action, resource, everything), action


def left_in(target, reference):
    """What the cloud lists of a stack."""
    from rayform_provisioner.aws.inventory import inventory

    return inventory(
        target, "eu-central-1", reference, bucket=f"rayform-{reference}", repository=f"rayform/{reference}"
    )
