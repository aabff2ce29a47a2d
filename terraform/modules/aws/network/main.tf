locals {
  create = var.network.existing == null
  zones  = local.create ? var.network.zones : {}
  # Sixteen equal parts: eight for public subnets and eight for private ones, so that a zone that is added later
  # doesn't move the subnets that exist.
  bits = 4
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: Flow logs cost money per gigabyte, so the account's owner decides; for flow logs, pass a VPC that has them as `existing`.
  count = local.create ? 1 : 0

  cidr_block           = var.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.reference }
}

# The default group lets all its members reach each other. It is emptied, so that nothing uses it by mistake.
resource "aws_default_security_group" "this" {
  count = local.create ? 1 : 0

  vpc_id = aws_vpc.this[0].id
}

resource "aws_internet_gateway" "this" {
  count = local.create ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  tags = { Name = var.reference }
}

resource "aws_subnet" "public" {
  # checkov:skip=CKV_AWS_130: Workers that Ray's autoscaler starts here must reach the internet, and their security group lets nothing in from it. `private_nodes` puts them behind a NAT gateway instead.
  for_each = local.zones

  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.network.cidr, local.bits, each.value)
  map_public_ip_on_launch = true

  tags = { Name = "${var.reference}-public-${each.key}" }
}

resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.network.cidr, local.bits, each.value + 8)

  tags = { Name = "${var.reference}-private-${each.key}" }
}

# Routes are inside their tables, as one resource: a crash can leave a table, which has the stack's tag, but not a
# route of its own, which would have none.
resource "aws_route_table" "public" {
  count = local.create ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this[0].id
  }

  tags = { Name = "${var.reference}-public" }
}

resource "aws_route_table" "private" {
  count = local.create ? 1 : 0

  vpc_id = aws_vpc.this[0].id

  dynamic "route" {
    for_each = aws_nat_gateway.this

    content {
      cidr_block     = "0.0.0.0/0"
      nat_gateway_id = route.value.id
    }
  }

  tags = { Name = "${var.reference}-private" }
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private[0].id
}

# One NAT gateway, in the first zone: a second one would double the price of an idle stack.
resource "aws_eip" "nat" {
  count = local.create && var.network.private_nodes ? 1 : 0

  domain = "vpc"

  tags = { Name = "${var.reference}-nat" }
}

resource "aws_nat_gateway" "this" {
  count = local.create && var.network.private_nodes ? 1 : 0

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[var.network.head_zone].id

  tags = { Name = var.reference }

  depends_on = [aws_internet_gateway.this]
}

# Through it, artifacts reach the bucket without leaving the cloud's network, and free of charge.
resource "aws_vpc_endpoint" "s3" {
  count = local.create ? 1 : 0

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public[0].id, aws_route_table.private[0].id]

  tags = { Name = "${var.reference}-s3" }
}

locals {
  vpc_id              = local.create ? aws_vpc.this[0].id : var.network.existing.vpc_id
  public_subnet_ids   = [for zone in sort(keys(local.zones)) : aws_subnet.public[zone].id]
  private_subnet_ids  = [for zone in sort(keys(local.zones)) : aws_subnet.private[zone].id]
  head_subnet_id      = local.create ? aws_subnet.public[var.network.head_zone].id : var.network.existing.head_subnet_id
  node_subnet_ids     = local.create ? (var.network.private_nodes ? local.private_subnet_ids : local.public_subnet_ids) : var.network.existing.node_subnet_ids
  database_subnet_ids = local.create ? local.private_subnet_ids : var.network.existing.database_subnet_ids
}

# For every machine of the cluster: Ray's ports among themselves, and the allowed ports on the internet.
resource "aws_security_group" "cluster" {
  # checkov:skip=CKV2_AWS_5: Attached by the compute module, which this module doesn't know.
  name        = "${var.reference}-cluster"
  description = "Machines of the Ray cluster, among themselves"
  vpc_id      = local.vpc_id

  tags = { Name = "${var.reference}-cluster" }
}

resource "aws_vpc_security_group_ingress_rule" "cluster_self" {
  # checkov:skip=CKV_AWS_25: Only members of the group itself get in; Ray's workers use ports from the whole range.
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.cluster.id
  ip_protocol                  = "tcp"
  from_port                    = 1024
  to_port                      = 65535
  description                  = "Ray among the machines of the cluster"
}

resource "aws_vpc_security_group_egress_rule" "cluster_self" {
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.cluster.id
  ip_protocol                  = "tcp"
  from_port                    = 1024
  to_port                      = 65535
  description                  = "Ray among the machines of the cluster"
}

resource "aws_vpc_security_group_egress_rule" "cluster_out" {
  for_each = toset([for port in var.network.egress_ports : tostring(port)])

  security_group_id = aws_security_group.cluster.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.key)
  to_port           = tonumber(each.key)
  description       = "Package indexes, registries and the cloud's API"
}

# The only way in from outside: SSH to the head, from the allowed ranges.
resource "aws_security_group" "head" {
  # checkov:skip=CKV2_AWS_5: Attached by the compute module, which this module doesn't know.
  name        = "${var.reference}-head"
  description = "SSH to the head of the Ray cluster"
  vpc_id      = local.vpc_id

  tags = { Name = "${var.reference}-head" }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.network.allowed_ingress_cidrs)

  security_group_id = aws_security_group.head.id
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  description       = "SSH to the head"
}

resource "aws_security_group" "database" {
  # checkov:skip=CKV2_AWS_5: Attached by the catalog module, which this module doesn't know.
  name        = "${var.reference}-database"
  description = "PostgreSQL from the machines of the cluster"
  vpc_id      = local.vpc_id

  tags = { Name = "${var.reference}-database" }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.cluster.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  description                  = "PostgreSQL from the cluster"
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.database.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  description                  = "PostgreSQL of the catalog"
}
