variable "repository" {
  description = "The stack's repository of step images."
  type = object({
    name                          = string
    immutable                     = optional(bool, true)
    scan_on_push                  = optional(bool, true)
    keep_images                   = optional(number, 100)
    untagged_days                 = optional(number, 7)
    kms_key_arn                   = optional(string)
    delete_images_with_repository = optional(bool, false)
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z0-9]+(?:[._/-][a-z0-9]+)*$", var.repository.name)) && length(var.repository.name) <= 256
    error_message = "repository.name must be lower-case letters and digits, joined by single dots, hyphens, underscores or slashes."
  }

  validation {
    condition     = var.repository.keep_images >= 1
    error_message = "repository.keep_images must be 1 or more."
  }

  validation {
    condition     = var.repository.untagged_days >= 1
    error_message = "repository.untagged_days must be 1 or more."
  }

  validation {
    condition     = var.repository.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:", var.repository.kms_key_arn))
    error_message = "repository.kms_key_arn must be the ARN of a KMS key."
  }
}
