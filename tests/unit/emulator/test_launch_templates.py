"""What an instance takes from its launch template."""

from __future__ import annotations

from rayform_localstack.api.launch_templates import take_from_template

TEMPLATE: dict[str, object] = {
    "InstanceType": "m5.large",
    "KeyName": "key",
    "NetworkInterfaces": [
        {"SecurityGroupIds": ["sg-1"], "SubnetId": "subnet-1", "AssociatePublicIpAddress": "true"}
    ],
    "BlockDeviceMappings": [{"DeviceName": "/dev/sda1"}],
    "InstanceMarketOptions": {"MarketType": "spot"},
    "IamInstanceProfile": {"Name": "worker"},
}


def test_a_launch_that_names_nothing_takes_everything() -> None:
    """Type, key, network, disks, market and profile come from the template."""
    launch: dict[str, object] = {"is_instance_type_default": True, "associate_public_ip": None}
    assert take_from_template(TEMPLATE, launch) == {"Name": "worker"}
    assert launch == {
        "is_instance_type_default": False,
        "instance_type": "m5.large",
        "associate_public_ip": True,
        "security_group_ids": ["sg-1"],
        "subnet_id": "subnet-1",
        "key_name": "key",
        "block_device_mappings": [{"DeviceName": "/dev/sda1"}],
        "instance_market_options": "spot",
    }


def test_what_the_launch_names_stays() -> None:
    """An argument of the launch is stronger than the template; an interface replaces the template's."""
    launch: dict[str, object] = {"instance_type": "t3.small", "key_name": "own", "nics": [{"SubnetId": "s"}]}
    take_from_template(TEMPLATE, launch)
    assert (launch["instance_type"], launch["key_name"]) == ("t3.small", "own")
    assert "subnet_id" not in launch


def test_the_names_of_the_older_fork_are_read_too() -> None:
    """The moto in LocalStack names lists by the singular, and writes them as mappings by number."""
    launch: dict[str, object] = {}
    assert take_from_template({"SecurityGroupId": {"1": "sg-2", "0": "sg-1"}}, launch) is None
    assert launch == {"security_group_ids": ["sg-1", "sg-2"]}
