variable "bucket" {
  description = "The stack's bucket."
  type = object({
    name                       = string
    versioning                 = optional(bool, true)
    kms_key_arn                = optional(string)
    noncurrent_days            = optional(number)
    abort_incomplete_days      = optional(number)
    expire_days                = optional(number)
    infrequent_access_days     = optional(number)
    delete_objects_with_bucket = optional(bool, false)
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket.name))
    error_message = "bucket.name must be 3 to 63 lower-case letters, digits, dots and hyphens."
  }

  validation {
    condition     = var.bucket.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.bucket.kms_key_arn))
    error_message = "bucket.kms_key_arn must be the ARN of a KMS key."
  }

  validation {
    condition     = try(var.bucket.noncurrent_days >= 1, var.bucket.noncurrent_days == null)
    error_message = "bucket.noncurrent_days must be 1 or more."
  }

  validation {
    condition     = try(var.bucket.abort_incomplete_days >= 1, var.bucket.abort_incomplete_days == null)
    error_message = "bucket.abort_incomplete_days must be 1 or more."
  }

  validation {
    condition     = try(var.bucket.expire_days >= 1, var.bucket.expire_days == null)
    error_message = "bucket.expire_days must be 1 or more."
  }

  validation {
    condition     = try(var.bucket.infrequent_access_days >= 30, var.bucket.infrequent_access_days == null)
    error_message = "bucket.infrequent_access_days must be 30 or more, because S3 accepts no less."
  }
}

variable "bootstrap" {
  description = "Files that a machine fetches when it boots: key to `source` (a file) or `content`."
  type = map(object({
    source  = optional(string)
    content = optional(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for key in keys(var.bootstrap) : startswith(key, "system/")])
    error_message = "bootstrap keys must start with system/, where no artifacts are."
  }

  validation {
    condition     = alltrue([for file in values(var.bootstrap) : (file.source == null) != (file.content == null)])
    error_message = "bootstrap files must have either a source or content."
  }
}

variable "tls_only" {
  description = "Refuse plain HTTP. Only off for an emulated cloud that has no TLS."
  type        = bool
  default     = true
  nullable    = false
}
