"""A database whose end is ordered before Terraform begins."""

from __future__ import annotations

import pytest

from rayform_provisioner.aws.clients import client
from rayform_provisioner.aws.data import begin_end_of_database
from rayform_provisioner.targets import resolve_target

pytestmark = [pytest.mark.moto]

REGION = "eu-central-1"


def test_a_database_goes_and_what_is_refused_is_left_to_terraform(endpoints):
    """An existing database is deleted without a snapshot; one that is gone or protected causes no error."""
    target = resolve_target(str(endpoints))
    rds = client(target, "rds", REGION)
    for name, protected in (("plain-catalog", False), ("protected-catalog", True)):
        rds.create_db_instance(
            DBInstanceIdentifier=name, Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
            MasterUsername="owner", ManageMasterUserPassword=True, DeletionProtection=protected,
        )  # fmt: skip
        begin_end_of_database(target, REGION, name)
        begin_end_of_database(target, REGION, name)
    left = [item["DBInstanceIdentifier"] for item in rds.describe_db_instances()["DBInstances"]]
    assert "plain-catalog" not in left
    assert "protected-catalog" in left
    rds.modify_db_instance(DBInstanceIdentifier="protected-catalog", DeletionProtection=False)
    begin_end_of_database(target, REGION, "protected-catalog")
