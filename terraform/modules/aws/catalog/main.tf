resource "aws_db_subnet_group" "this" {
  name        = "${var.reference}-catalog"
  description = "Private subnets of the catalog"
  subnet_ids  = var.catalog.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  # The family is part of the name because a major upgrade needs a second group next to the first.
  name        = "${var.reference}-catalog-${split(".", var.catalog.postgres_version)[0]}"
  family      = "postgres${split(".", var.catalog.postgres_version)[0]}"
  description = "Settings of the catalog"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  # checkov:skip=CKV_AWS_118: Enhanced monitoring needs a role and costs money; CloudWatch's own metrics are enough for a catalog.
  # checkov:skip=CKV_AWS_157: A second zone doubles the price; `multi_az` in the definition turns it on.
  # checkov:skip=CKV_AWS_293: `rayform stack destroy` looks at the data first and refuses by itself; `deletion_protection` adds AWS's own.
  # checkov:skip=CKV_AWS_354: Performance Insights is off, see CKV_AWS_353.
  # checkov:skip=CKV_AWS_353: The smallest classes don't offer Performance Insights.
  # checkov:skip=CKV_AWS_129: Exported logs are in log groups that outlast the database, so a destroyed stack would leave them behind; RDS itself keeps logs for three days.
  # checkov:skip=CKV2_AWS_30: See CKV_AWS_129; slow statements are logged on the server.
  # checkov:skip=CKV_AWS_226: Minor upgrades are automatic unless the definition pins a minor version.
  # checkov:skip=CKV_AWS_161: There is one user, the master, whose password RDS keeps and rotates in Secrets Manager.
  identifier     = "${var.reference}-catalog"
  engine         = "postgres"
  engine_version = var.catalog.postgres_version
  instance_class = var.catalog.instance_class
  db_name        = var.catalog.restore_snapshot == null ? "rayform" : null
  username       = var.catalog.restore_snapshot == null ? "rayform" : null
  port           = 5432

  # RDS makes, keeps and rotates the password, so no state, plan or variable has it.
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.catalog.kms_key_arn

  allocated_storage     = var.catalog.storage_gb
  max_allocated_storage = var.catalog.max_storage_gb > var.catalog.storage_gb ? var.catalog.max_storage_gb : null
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = var.catalog.kms_key_arn

  db_subnet_group_name   = aws_db_subnet_group.this.name
  parameter_group_name   = aws_db_parameter_group.this.name
  vpc_security_group_ids = var.catalog.security_group_ids
  publicly_accessible    = false
  multi_az               = var.catalog.multi_az

  backup_retention_period  = var.catalog.backup_days
  delete_automated_backups = true
  copy_tags_to_snapshot    = true
  # A definition that names a minor version, such as 16.4, means that one: an automatic upgrade would have the next plan
  # go back, which RDS refuses. A new major version is in the plan that the user agrees to, with a snapshot before it.
  auto_minor_version_upgrade  = !strcontains(var.catalog.postgres_version, ".")
  allow_major_version_upgrade = true
  apply_immediately           = true
  deletion_protection         = var.catalog.deletion_protection
  # `rayform stack destroy` looks at the data first, and takes the snapshot itself if the data is to be kept.
  skip_final_snapshot = true
  snapshot_identifier = var.catalog.restore_snapshot
}
