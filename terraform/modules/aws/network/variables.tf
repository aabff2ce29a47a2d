variable "reference" {
  description = "Unique stack reference; the prefix of every name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,40}$", var.reference))
    error_message = "reference must be 3 to 41 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "network" {
  description = "The network that the stack's machines are in: a new VPC, or `existing`."
  type = object({
    zones                 = optional(map(number), {})
    head_zone             = optional(string)
    cidr                  = optional(string, "10.42.0.0/16")
    allowed_ingress_cidrs = optional(list(string), [])
    private_nodes         = optional(bool, false)
    egress_ports          = optional(list(number), [80, 443])
    existing = optional(object({
      vpc_id              = string
      head_subnet_id      = string
      node_subnet_ids     = list(string)
      database_subnet_ids = list(string)
    }))
  })
  nullable = false

  validation {
    condition     = var.network.existing != null || length(var.network.zones) >= 2
    error_message = "network.zones must name at least two zones, because the database needs two."
  }

  validation {
    condition     = var.network.existing != null || contains(keys(var.network.zones), coalesce(var.network.head_zone, "none"))
    error_message = "network.head_zone must be one of network.zones."
  }

  validation {
    condition     = length(distinct(values(var.network.zones))) == length(var.network.zones) && alltrue([for slot in values(var.network.zones) : contains(range(8), slot)])
    error_message = "network.zones must give each zone a number of its own, from 0 to 7."
  }

  validation {
    condition     = can(cidrhost(var.network.cidr, 0))
    error_message = "network.cidr must be an IPv4 range such as 10.42.0.0/16."
  }

  validation {
    condition     = try(tonumber(split("/", var.network.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.network.cidr)[1]), 99) <= 24
    error_message = "network.cidr must be a /16 to /24."
  }

  validation {
    condition     = alltrue([for c in var.network.allowed_ingress_cidrs : can(cidrhost(c, 0))])
    error_message = "network.allowed_ingress_cidrs must hold IPv4 ranges such as 203.0.113.7/32."
  }

  validation {
    condition     = !contains([for c in var.network.allowed_ingress_cidrs : try(split("/", c)[1], "")], "0")
    error_message = "network.allowed_ingress_cidrs must not hold the whole internet."
  }

  validation {
    condition     = alltrue([for p in var.network.egress_ports : p > 0 && p < 65536])
    error_message = "network.egress_ports must hold port numbers from 1 to 65535."
  }

  validation {
    condition     = var.network.existing == null || length(try(var.network.existing.database_subnet_ids, [])) >= 2
    error_message = "network.existing.database_subnet_ids must hold at least two subnets."
  }
}

variable "region" {
  description = "Region of the network."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be a region's name such as eu-central-1."
  }
}
