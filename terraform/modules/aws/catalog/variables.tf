variable "reference" {
  description = "Unique stack reference; the prefix of every name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.reference))
    error_message = "reference must be 3 to 41 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "catalog" {
  description = "The PostgreSQL server of the catalog."
  type = object({
    subnet_ids          = list(string)
    security_group_ids  = list(string)
    instance_class      = optional(string, "db.t4g.micro")
    storage_gb          = optional(number, 20)
    max_storage_gb      = optional(number, 100)
    postgres_version    = optional(string, "16")
    backup_days         = optional(number, 7)
    deletion_protection = optional(bool, false)
    multi_az            = optional(bool, false)
    kms_key_arn         = optional(string)
    restore_snapshot    = optional(string)
  })
  nullable = false

  validation {
    condition     = length(var.catalog.subnet_ids) >= 2
    error_message = "catalog.subnet_ids must hold at least two subnets, in two zones."
  }

  validation {
    condition     = startswith(var.catalog.instance_class, "db.")
    error_message = "catalog.instance_class must be a database class such as db.t4g.micro."
  }

  validation {
    condition     = var.catalog.storage_gb >= 20 && var.catalog.storage_gb <= 65536
    error_message = "catalog.storage_gb must be 20 to 65536."
  }

  validation {
    condition     = var.catalog.max_storage_gb >= var.catalog.storage_gb
    error_message = "catalog.max_storage_gb must not be below storage_gb."
  }

  validation {
    condition     = can(regex("^1[4-9](\\.[0-9]+)?$", var.catalog.postgres_version))
    error_message = "catalog.postgres_version must be 14 to 19, with or without a minor version."
  }

  validation {
    condition     = var.catalog.backup_days >= 0 && var.catalog.backup_days <= 35
    error_message = "catalog.backup_days must be 0 to 35."
  }
}
