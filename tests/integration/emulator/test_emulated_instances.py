"""Instances of the emulated cloud: they boot, obey the API, and reach what their role lets them reach."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator

import pytest
from support.emulated import EmulatedCloud, eventually

from rayform_localstack import faults

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def subnet(emulated: EmulatedCloud) -> str:
    """A public subnet in a VPC of its own, with the key pair imported."""
    emulated.import_key()
    return emulated.make_network()[1]


@pytest.fixture
def instance(emulated: EmulatedCloud, subnet: str) -> Iterator[str]:
    """An instance that has booted."""
    counting = "#!/bin/sh\necho once >> /var/log/runs\n"
    (identifier,) = emulated.run(subnet, user_data=counting, KeyName="key")
    emulated.await_boot(identifier)
    yield identifier
    emulated.aws("ec2").terminate_instances(InstanceIds=[identifier])
    emulated.await_state(identifier, "terminated")


def test_ssh_through_the_public_address_reaches_the_machine_with_the_api_s_private_address(
    emulated: EmulatedCloud, instance: str
) -> None:
    """The public IP is a loopback address that leads to the machine, whose private IP is the API's."""
    described = emulated.describe(instance)
    assert described["PublicIpAddress"].startswith("127.77.")
    found = emulated.ssh(described["PublicIpAddress"], "hostname -I; sudo -n cat /etc/rayform/machine.json")
    address, _, machine = found.partition("\n")
    assert address.strip() == described["PrivateIpAddress"]
    assert json.loads(machine)["instance_id"] == instance


def test_another_key_is_not_let_in(emulated: EmulatedCloud, instance: str) -> None:
    """Nobody logs in without the instance's key pair."""
    address = emulated.describe(instance)["PublicIpAddress"]
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    done = subprocess.run(
        ["ssh", *options, "-o", "IdentityFile=/dev/null", "-o", "IdentitiesOnly=yes", f"ubuntu@{address}", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_the_metadata_service_takes_version_2_alone_and_tells_an_instance_of_itself(
    emulated: EmulatedCloud, instance: str
) -> None:
    """A request without a session token is refused; with one the identity document is the asker's."""
    base = "http://169.254.169.254/latest"
    code = emulated.inside(
        instance, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/meta-data/"
    )
    assert code == "401"
    script = (
        f'T=$(curl -sf -X PUT {base}/api/token -H "X-aws-ec2-metadata-token-ttl-seconds: 60"); '
        f'curl -sf -H "X-aws-ec2-metadata-token: $T" {base}/dynamic/instance-identity/document; echo; '
        f'curl -s -o /dev/null -w "%{{http_code}}" -H "X-aws-ec2-metadata-token: $T" {base}/meta-data/iam/info'
    )
    document, _, no_role = emulated.inside(instance, "sh", "-c", script).rpartition("\n")
    assert json.loads(document)["instanceId"] == instance
    assert no_role == "404"


def test_user_data_runs_once_through_stop_start_and_reboot(emulated: EmulatedCloud, instance: str) -> None:
    """Stop, start and reboot keep the disk and the addresses, and don't run user data again."""
    ec2 = emulated.aws("ec2")
    before = emulated.describe(instance)
    ec2.stop_instances(InstanceIds=[instance])
    emulated.await_state(instance, "stopped")
    assert docker_state(emulated, instance) == "exited"
    ec2.start_instances(InstanceIds=[instance])
    emulated.await_state(instance, "running")
    ec2.reboot_instances(InstanceIds=[instance])
    eventually(lambda: emulated_uptime(emulated, instance) < 3 or None, "rebooted")
    after = emulated.describe(instance)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    eventually(
        lambda: "ok" in ssh_or_empty(emulated, after["PublicIpAddress"], "echo ok") or None, "ssh is back"
    )
    assert emulated.ssh(after["PublicIpAddress"], "cat /var/log/runs") == "once\n"


def docker_state(emulated: EmulatedCloud, instance: str) -> str:
    """Return the state of an instance's container, or nothing where there is none."""
    done = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Status}}", emulated.container(instance)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip()


def emulated_uptime(emulated: EmulatedCloud, instance: str) -> float:
    """Return the seconds since the machine's first program started."""
    done = subprocess.run(
        ["docker", "exec", emulated.container(instance), "ps", "-o", "etimes=", "-p", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return float(done.stdout) if done.returncode == 0 else 1e9


def ssh_or_empty(emulated: EmulatedCloud, address: str, command: str) -> str:
    """Return what a command over SSH prints, or nothing while nobody answers."""
    try:
        return emulated.ssh(address, command)
    except AssertionError:
        return ""


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
def test_a_shutdown_from_inside_does_what_the_shutdown_behaviour_says(
    emulated: EmulatedCloud, subnet: str, behaviour: str, state: str
) -> None:
    """`shutdown` inside stops or terminates the instance, and the API says who began it."""
    (instance,) = emulated.run(subnet, InstanceInitiatedShutdownBehavior=behaviour)
    emulated.await_boot(instance)
    # The command itself may fall to the shutdown that it asks for, so its exit code says nothing.
    subprocess.run(["docker", "exec", emulated.container(instance), "shutdown", "-h", "now"], check=False)
    described = emulated.await_state(instance, state)
    assert described["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    emulated.aws("ec2").terminate_instances(InstanceIds=[instance])
    emulated.await_state(instance, "terminated")
    assert docker_state(emulated, instance) == ""


def test_a_spot_instance_sees_its_notice_and_then_ends(emulated: EmulatedCloud, subnet: str) -> None:
    """An interruption shows in the metadata first, and ends the instance when its time is up."""
    (instance,) = emulated.run(subnet, InstanceMarketOptions={"MarketType": "spot"})
    emulated.await_boot(instance)
    base = "http://169.254.169.254/latest"
    ask = (
        f'T=$(curl -sf -X PUT {base}/api/token -H "X-aws-ec2-metadata-token-ttl-seconds: 60"); '
        f'curl -s -H "X-aws-ec2-metadata-token: $T" {base}/meta-data/spot/instance-action'
    )
    assert emulated.inside(instance, "sh", "-c", ask) == ""
    order = faults.interrupt(instance)
    assert order["spot"]
    assert json.loads(emulated.inside(instance, "sh", "-c", ask)) == {
        "action": "terminate",
        "time": order["time"],
    }
    described = emulated.await_state(instance, "terminated")
    assert described["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_a_machine_that_is_cut_off_answers_again_when_restored(
    emulated: EmulatedCloud, instance: str
) -> None:
    """A cut loses packets both ways, also of connections that exist; mending it brings the machine back."""
    ping = ["ping", "-c1", "-W1", emulated.describe(instance)["PrivateIpAddress"]]
    reach = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-m",
        "2",
        "-w",
        "%{http_code}",
        f"{emulated.state.endpoint}/_rayform/health",
    ]
    assert emulated.inside(instance, *reach) == "200"
    faults.cut(instance)
    faults.cut(instance)
    unreached = subprocess.run(
        ["docker", "exec", emulated.container(instance), *reach], capture_output=True, check=False
    )
    assert unreached.stdout == b"000"
    if subprocess.run(["which", "ping"], capture_output=True, check=False).returncode == 0:
        assert subprocess.run(ping, capture_output=True, check=False).returncode != 0
    faults.cut(instance, restore=True)
    assert emulated.inside(instance, *reach) == "200"


def test_a_killed_instance_is_terminated_by_the_server(emulated: EmulatedCloud, subnet: str) -> None:
    """Hardware that fails ends the instance with the server's error as the reason."""
    (instance,) = emulated.run(subnet)
    emulated.await_state(instance, "running")
    faults.kill(instance)
    described = emulated.await_state(instance, "terminated")
    assert described["StateReason"]["Code"] == "Server.InternalError"
    assert docker_state(emulated, instance) == ""


def test_an_elastic_ip_leads_to_the_instance_that_has_it(emulated: EmulatedCloud, instance: str) -> None:
    """An Elastic IP that is associated later leads to the instance's SSH."""
    ec2 = emulated.aws("ec2")
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=instance)
    assert emulated.describe(instance)["PublicIpAddress"] == address["PublicIp"]
    eventually(
        lambda: ssh_or_empty(emulated, address["PublicIp"], "echo here") or None, "the address answers"
    )


def test_an_auto_scaling_group_boots_machines_with_everything_from_its_launch_template(
    emulated: EmulatedCloud, subnet: str
) -> None:
    """A group's instances take profile, disks and user data from the template, and scaling in ends all of them."""
    role = emulated.make_role(
        "group-node", [{"Effect": "Allow", "Action": "ec2:DescribeTags", "Resource": "*"}]
    )
    ec2, scaling = emulated.aws("ec2"), emulated.aws("autoscaling")
    script = "#!/bin/sh\necho from-template > /var/log/mark\n"
    ec2.create_launch_template(
        LaunchTemplateName="node",
        LaunchTemplateData={
            "ImageId": "ami-12c6146b",
            "InstanceType": "g5.xlarge",
            "IamInstanceProfile": {"Name": role},
            "UserData": base64.b64encode(script.encode()).decode(),
            "BlockDeviceMappings": [
                {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "DeleteOnTermination": True}}
            ],
        },
    )
    volumes = {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]}
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="workers", MinSize=0, MaxSize=2, DesiredCapacity=1, VPCZoneIdentifier=subnet,
        LaunchTemplate={"LaunchTemplateName": "node", "Version": "$Latest"},
    )  # fmt: skip
    group = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["workers"])["AutoScalingGroups"][0]
    (instance,) = [i["InstanceId"] for i in group["Instances"]]
    emulated.await_boot(instance)
    assert emulated.inside(instance, "cat", "/var/log/mark") == "from-template\n"
    assert emulated.describe(instance)["IamInstanceProfile"]["Arn"].endswith("/group-node")
    machine = json.loads(emulated.inside(instance, "cat", "/etc/rayform/machine.json"))
    assert (machine["gpus"], machine["cpus"]) == (1, 4)
    assert machine["cpu_limit"] <= 4
    made = [v["Size"] for v in ec2.describe_volumes()["Volumes"] if v["VolumeId"] not in volumes]
    assert made == [30]
    scaling.delete_auto_scaling_group(AutoScalingGroupName="workers", ForceDelete=True)
    emulated.await_state(instance, "terminated")
    assert {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]} == volumes


def test_a_vpc_that_overlaps_a_network_of_this_machine_fails_with_the_network_s_name(
    emulated: EmulatedCloud, subnet: str, instance: str
) -> None:
    """An instance that can't be made real is terminated, and its state reason says why."""
    ec2 = emulated.aws("ec2")
    taken = next(
        v["CidrBlock"]
        for v in ec2.describe_vpcs()["Vpcs"]
        if v["VpcId"] == emulated.describe(instance)["VpcId"]
    )
    vpc = ec2.create_vpc(CidrBlock=taken)["Vpc"]["VpcId"]
    twin = ec2.create_subnet(VpcId=vpc, CidrBlock=taken.replace("/16", "/24"))["Subnet"]["SubnetId"]
    (instance,) = emulated.run(twin)
    reason = emulated.await_state(instance, "terminated")["StateReason"]["Message"]
    assert "overlaps Docker's network" in reason
    assert taken in reason


def test_cloud_config_and_multipart_user_data_run_as_cloud_init_runs_them(
    emulated: EmulatedCloud, subnet: str
) -> None:
    """A multipart message of cloud-config and a script writes files, then runs both in their order."""
    message = (
        'Content-Type: multipart/mixed; boundary="X"\nMIME-Version: 1.0\n\n'
        "--X\nContent-Type: text/cloud-config\n\n#cloud-config\nwrite_files:\n"
        "- path: /opt/made/by-config\n  permissions: '0600'\n  content: |\n    written\n"
        "runcmd:\n- [sh, -c, 'echo first >> /var/log/order']\n"
        "--X\nContent-Type: text/x-shellscript\n\n#!/bin/bash\necho second >> /var/log/order\nexit 7\n--X--\n"
    )
    (instance,) = emulated.run(subnet, user_data=message)
    assert emulated.await_boot(instance)["code"] == 7
    found = emulated.inside(
        instance, "sh", "-c", "stat -c %a /opt/made/by-config; cat /opt/made/by-config /var/log/order"
    )
    assert found == "600\nwritten\nfirst\nsecond\n"
