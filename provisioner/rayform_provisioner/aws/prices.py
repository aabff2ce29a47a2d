# ruff: noqa: E501  (patterns and sentences read better whole)
"""On-demand list prices, for estimates only: in US dollars, as of `AS_OF`, in us-east-1.

The prices are in the code because an estimate must work offline and within a second; AWS's price API answers with
tens of megabytes. Prices in other regions are `REGION_FACTORS` times as high, on average.
"""

from __future__ import annotations

__all__ = [
    "AS_OF",
    "DATABASE_HOURLY",
    "INSTANCE_HOURLY",
    "MONTHLY",
    "REGION_FACTORS",
    "SPOT_FACTOR",
    "region_factor",
]

AS_OF = "2025-06-01"
"""The day these prices were written down."""

SPOT_FACTOR = 0.4
"""The spot price as a share of the on-demand price, roughly."""


def _family(
    name: str, large: float, sizes: str = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"
) -> dict[str, float]:
    """Prices of a family whose price grows with its size."""
    return {f"{name}.{size}": round(large * _LARGES[size], 4) for size in sizes.split()}


_LARGES = {
    "nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1, "xlarge": 2, "2xlarge": 4, "3xlarge": 6,
    "4xlarge": 8, "8xlarge": 16, "9xlarge": 18, "12xlarge": 24, "16xlarge": 32, "18xlarge": 36, "24xlarge": 48,
    "32xlarge": 64, "48xlarge": 96,
}  # fmt: skip

INSTANCE_HOURLY: dict[str, float] = {
    **_family("t3", 0.0832, "nano micro small medium large xlarge 2xlarge"),
    **_family("t3a", 0.0752, "nano micro small medium large xlarge 2xlarge"),
    **_family("t4g", 0.0672, "nano micro small medium large xlarge 2xlarge"),
    **_family("m5", 0.096),
    **_family("m6i", 0.096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"),
    **_family("m6a", 0.0864),
    **_family("m6g", 0.077, "medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    **_family("m7i", 0.1008, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    **_family("m7g", 0.0816, "medium large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    **_family("c5", 0.085, "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge"),
    **_family("c6i", 0.085, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"),
    **_family("c7i", 0.08925, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    **_family("r5", 0.126),
    **_family("r6i", 0.126, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge"),
    **_family("r7i", 0.1323, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    "g4dn.xlarge": 0.526, "g4dn.2xlarge": 0.752, "g4dn.4xlarge": 1.204, "g4dn.8xlarge": 2.176, "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g5.xlarge": 1.006, "g5.2xlarge": 1.212, "g5.4xlarge": 1.624, "g5.8xlarge": 2.448, "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096, "g5.24xlarge": 8.144, "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048, "g6.2xlarge": 0.9776, "g6.4xlarge": 1.3232, "g6.8xlarge": 2.0144, "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968, "g6.24xlarge": 6.6752, "g6.48xlarge": 13.3504,
    "p3.2xlarge": 3.06, "p3.8xlarge": 12.24, "p3.16xlarge": 24.48,
    "p4d.24xlarge": 32.7726, "p5.48xlarge": 98.32,
}  # fmt: skip
"""Instance type to dollars an hour, Linux."""

DATABASE_HOURLY: dict[str, float] = {
    "db.t3.micro": 0.018, "db.t3.small": 0.036, "db.t3.medium": 0.072, "db.t3.large": 0.145,
    "db.t4g.micro": 0.016, "db.t4g.small": 0.032, "db.t4g.medium": 0.065, "db.t4g.large": 0.129,
    **_family("db.m5", 0.178, "large xlarge 2xlarge 4xlarge"),
    **_family("db.m6g", 0.159, "large xlarge 2xlarge 4xlarge"),
    **_family("db.m6i", 0.178, "large xlarge 2xlarge 4xlarge"),
    **_family("db.r6g", 0.225, "large xlarge 2xlarge 4xlarge"),
}  # fmt: skip
"""RDS class to dollars an hour, PostgreSQL in one zone."""

MONTHLY = {
    "disk_gb": 0.08,
    "database_disk_gb": 0.115,
    "secret": 0.40,
    "address": 3.65,
    "nat": 32.85,
    "bucket_gb": 0.023,
    "registry_gb": 0.10,
}
"""Dollars a month: gp3 disks, RDS's, a secret, a public IPv4 address, a NAT gateway without traffic, S3, ECR."""

REGION_FACTORS = {
    "us-east-1": 1.0, "us-east-2": 1.0, "us-west-2": 1.0, "us-west-1": 1.17, "ca-central-1": 1.11, "sa-east-1": 1.6,
    "eu-west-1": 1.11, "eu-west-2": 1.16, "eu-west-3": 1.17, "eu-central-1": 1.19, "eu-north-1": 1.06, "eu-south-1": 1.17,
    "ap-south-1": 1.05, "ap-southeast-1": 1.25, "ap-southeast-2": 1.25, "ap-northeast-1": 1.29, "ap-northeast-2": 1.23,
}  # fmt: skip
"""Region to how many times as high its prices are as in us-east-1, on average."""


def region_factor(region: str) -> float:
    """Return how many times as high prices in `region` are; 1.25 for a region that the table lacks."""
    return REGION_FACTORS.get(region, 1.25)
