"""What an instance takes from its launch template, in the words of moto and of the older fork inside LocalStack."""

from __future__ import annotations

from typing import Any

__all__ = ["take_from_template"]


def take_from_template(data: dict[str, Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Fill in what moto leaves out of a launch template.

    Args:
        data: the template's data, as moto keeps it.
        kwargs: of moto's `run_instances`; changed in place. What the launch itself names stays.

    Returns:
        The template's instance profile (`Name` or `Arn`), or `None`.
    """
    interfaces = [dict(i) for i in _template_list(data, "NetworkInterface")]
    if interfaces and not kwargs.get("nics"):
        first = interfaces[0]
        groups = _template_list(first, "SecurityGroupId") or _listed(first.get("Groups"))
        if groups and not kwargs.get("security_group_ids"):
            kwargs["security_group_ids"] = groups
        public = first.get("AssociatePublicIpAddress")
        if public is not None and kwargs.get("associate_public_ip") in {None, ""}:
            kwargs["associate_public_ip"] = str(public).lower() == "true"
        if first.get("SubnetId") and not kwargs.get("subnet_id"):
            kwargs["subnet_id"] = first["SubnetId"]
    devices = _template_list(data, "BlockDeviceMapping")
    if devices and not kwargs.get("block_device_mappings"):
        # Left to itself, moto gives the instance a default root volume too, which outlives it unattached.
        kwargs["block_device_mappings"] = devices
    if data.get("InstanceType") and kwargs.get("is_instance_type_default"):
        kwargs.update(instance_type=data["InstanceType"], is_instance_type_default=False)
    if data.get("KeyName") and not kwargs.get("key_name"):
        kwargs["key_name"] = data["KeyName"]
    groups = _template_list(data, "SecurityGroupId")
    if groups and not kwargs.get("security_group_ids"):
        kwargs["security_group_ids"] = groups
    market = data.get("InstanceMarketOptions") or {}
    if market.get("MarketType") and not kwargs.get("instance_market_options"):
        kwargs["instance_market_options"] = market["MarketType"]
    if data.get("MetadataOptions") and not kwargs.get("metadata_options"):
        kwargs["metadata_options"] = data["MetadataOptions"]
    if data.get("InstanceInitiatedShutdownBehavior") and not kwargs.get(
        "instance_initiated_shutdown_behavior"
    ):
        kwargs["instance_initiated_shutdown_behavior"] = data["InstanceInitiatedShutdownBehavior"]
    profile = data.get("IamInstanceProfile") or None
    return dict(profile) if profile else None


def _template_list(data: dict[str, Any], singular: str) -> list[Any]:
    """Return a template's list: moto's names are EC2's plurals, those of the moto in LocalStack its singulars."""
    return _listed(data.get(f"{singular}s") or data.get(singular))


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value[key] for key in sorted(value)] if all(str(k).isdigit() for k in value) else [value]
    return [value]
