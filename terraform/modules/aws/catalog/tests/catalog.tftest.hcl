mock_provider "aws" {}

variables {
  reference = "demo-1a2b3c4d"
  catalog = {
    subnet_ids         = ["subnet-01", "subnet-02"]
    security_group_ids = ["sg-01"]
  }
}

run "private_encrypted_and_without_a_password" {
  command = apply

  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible
    error_message = "The server must be encrypted and private."
  }

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "RDS must make and keep the password."
  }

  assert {
    condition     = contains([for p in aws_db_parameter_group.this.parameter : "${p.name}=${p.value}"], "rds.force_ssl=1")
    error_message = "Connections without TLS must be refused."
  }
}

run "a_pinned_minor_version_stays" {
  command = plan

  variables {
    catalog = {
      subnet_ids         = ["subnet-01", "subnet-02"]
      security_group_ids = ["sg-01"]
      postgres_version   = "16.4"
    }
  }

  assert {
    condition     = !aws_db_instance.this.auto_minor_version_upgrade
    error_message = "RDS must not upgrade a version that the definition pins."
  }
}

run "a_major_version_gets_its_minor_upgrades" {
  command = plan

  assert {
    condition     = aws_db_instance.this.auto_minor_version_upgrade && aws_db_instance.this.allow_major_version_upgrade
    error_message = "RDS must upgrade minor versions by itself, and major ones with a plan."
  }
}

run "one_subnet_is_refused" {
  command = plan

  variables {
    catalog = {
      subnet_ids         = ["subnet-01"]
      security_group_ids = []
    }
  }

  expect_failures = [var.catalog]
}

run "too_many_backup_days_are_refused" {
  command = plan

  variables {
    catalog = {
      subnet_ids         = ["subnet-01", "subnet-02"]
      security_group_ids = []
      backup_days        = 36
    }
  }

  expect_failures = [var.catalog]
}
