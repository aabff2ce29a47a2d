variable "reference" {
  description = "Unique stack reference; the prefix of every name and the value of the tag `rayform:stack`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.reference))
    error_message = "reference must be 3 to 41 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "tags" {
  description = "Tags for the instances and disks that Ray's autoscaler makes; the provider's default tags don't reach those."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "placement" {
  description = "Where the machines are, from the network module."
  type = object({
    region                    = string
    head_subnet_id            = string
    node_subnet_ids           = list(string)
    cluster_security_group_id = string
    head_security_group_id    = string
  })
  nullable = false

  validation {
    condition     = length(var.placement.node_subnet_ids) >= 1
    error_message = "placement.node_subnet_ids must hold at least one subnet."
  }
}

variable "access" {
  description = "What the machines may use: the stack's bucket and repository, the catalog's secret, and the bucket's KMS key, if it has one."
  type = object({
    bucket_name     = string
    bucket_arn      = string
    repository_arn  = optional(string)
    with_catalog    = optional(bool, false)
    catalog_key_arn = optional(string)
    disk_key_arn    = optional(string)
    kms_key_arn     = optional(string)
    with_repository = optional(bool, false)
  })
  nullable = false
}

# Not part of `access`, because Terraform waits for all of a variable and the head needn't wait for the database.
variable "catalog_secret_arn" {
  description = "ARN of the secret with the catalog's password, if `access.with_catalog` is set."
  type        = string
  default     = null
}

variable "bootstrap" {
  description = "Bootstrap files in the bucket, key to ETag; the head is made once they are there."
  type        = map(string)
  nullable    = false

  validation {
    condition     = contains(keys(var.bootstrap), "system/bootstrap/stack.json")
    error_message = "bootstrap must hold system/bootstrap/stack.json, which every machine reads first."
  }
}

variable "ssh_public_key" {
  description = "Public key that opens SSH on the head, in OpenSSH's format. The private key never leaves the user's machine."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]+) ", var.ssh_public_key))
    error_message = "ssh_public_key must be a public key in OpenSSH's format."
  }
}

variable "ray_token" {
  description = "Token that every call to the Ray cluster must carry; written once for each `ray_token_version`."
  type        = string
  ephemeral   = true
  sensitive   = true
  nullable    = false

  validation {
    condition     = length(var.ray_token) >= 32
    error_message = "ray_token must be 32 characters or longer."
  }
}

variable "ray_token_version" {
  description = "Version of the Ray token; raise it to make a new token."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.ray_token_version >= 1
    error_message = "ray_token_version must be 1 or more."
  }
}

variable "endpoints" {
  description = "Service to endpoint, as the machines reach them; empty on AWS proper, set for an emulated cloud."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "head" {
  description = "The head of the Ray cluster."
  type = object({
    ami           = string
    instance_type = string
    disk_gb       = optional(number, 50)
    public        = optional(bool, true)
  })
  nullable = false

  validation {
    condition     = can(regex("^ami-[0-9a-f]+$", var.head.ami))
    error_message = "head.ami must be an AMI's ID."
  }

  validation {
    condition     = var.head.disk_gb >= 8 && var.head.disk_gb <= 16384
    error_message = "head.disk_gb must be 8 to 16384."
  }
}

variable "worker_groups" {
  description = "Launch templates for Ray's autoscaler, by group name. The autoscaler, not Terraform, decides how many machines of each run."
  type = map(object({
    ami           = string
    instance_type = string
    disk_gb       = optional(number, 100)
    spot          = optional(bool, false)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.worker_groups) : can(regex("^[a-z][a-z0-9-]{0,30}$", name))])
    error_message = "worker_groups names must be 1 to 31 lower-case letters, digits and hyphens, starting with a letter."
  }

  validation {
    condition     = alltrue([for group in values(var.worker_groups) : can(regex("^ami-[0-9a-f]+$", group.ami))])
    error_message = "worker_groups.ami must be an AMI's ID."
  }

  validation {
    condition     = alltrue([for group in values(var.worker_groups) : group.disk_gb >= 8 && group.disk_gb <= 16384])
    error_message = "worker_groups.disk_gb must be 8 to 16384."
  }
}
