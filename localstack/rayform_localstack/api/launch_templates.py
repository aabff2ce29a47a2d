"""What an instance takes from its launch template, by the names of moto and of the older fork inside LocalStack."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["take_from_template"]


def take_from_template(data: Mapping[str, object], kwargs: dict[str, object]) -> dict[str, object] | None:
    """Fill in what moto leaves out of a launch template.

    Args:
        data: the template's data, as moto keeps it.
        kwargs: arguments of moto's `run_instances`; changed in place. What the launch itself names stays.

    Returns:
        The template's instance profile (`Name` or `Arn`), or `None`.
    """
    interfaces = _template_list(data, "NetworkInterface")
    if interfaces and not kwargs.get("nics"):
        _take_from_interface(_mapping(interfaces[0]), kwargs)
    if data.get("InstanceType") and kwargs.get("is_instance_type_default"):
        kwargs.update(instance_type=data["InstanceType"], is_instance_type_default=False)
    _fill(
        kwargs,
        # Without these, moto gives the instance a default root volume too, which outlives it unattached.
        block_device_mappings=_template_list(data, "BlockDeviceMapping"),
        key_name=data.get("KeyName"),
        security_group_ids=_template_list(data, "SecurityGroupId"),
        instance_market_options=_mapping(data.get("InstanceMarketOptions")).get("MarketType"),
        metadata_options=data.get("MetadataOptions"),
        instance_initiated_shutdown_behavior=data.get("InstanceInitiatedShutdownBehavior"),
    )
    return _mapping(data.get("IamInstanceProfile")) or None


def _take_from_interface(interface: Mapping[str, object], kwargs: dict[str, object]) -> None:
    public = interface.get("AssociatePublicIpAddress")
    if public is not None and kwargs.get("associate_public_ip") in {None, ""}:
        kwargs["associate_public_ip"] = str(public).lower() == "true"
    _fill(
        kwargs,
        security_group_ids=_template_list(interface, "SecurityGroupId") or _listed(interface.get("Groups")),
        subnet_id=interface.get("SubnetId"),
    )


def _fill(kwargs: dict[str, object], **values: object) -> None:
    """Add the values that aren't empty, for arguments that the launch doesn't name."""
    for name, value in values.items():
        if value and not kwargs.get(name):
            kwargs[name] = value


def _mapping(value: object) -> dict[str, object]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _template_list(data: Mapping[str, object], singular: str) -> list[object]:
    """Return a template's list: moto names it by EC2's plural, the moto in LocalStack by the singular."""
    return _listed(data.get(f"{singular}s") or data.get(singular))


def _listed(value: object) -> list[object]:
    """Return a list; the fork writes one as a mapping from number to item, or as its only item."""
    if not value:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and all(str(key).isdigit() for key in value):
        return [value[key] for key in sorted(value)]
    return [value]
