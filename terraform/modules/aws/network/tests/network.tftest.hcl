mock_provider "aws" {}

variables {
  reference = "demo-1a2b3c4d"
  region    = "eu-central-1"
  network = {
    zones                 = { eu-central-1a = 0, eu-central-1b = 1 }
    head_zone             = "eu-central-1a"
    allowed_ingress_cidrs = ["203.0.113.7/32"]
  }
}

run "one_door" {
  command = apply

  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.ssh) == ["203.0.113.7/32"] && aws_vpc_security_group_ingress_rule.ssh["203.0.113.7/32"].from_port == 22
    error_message = "SSH must only be open to the allowed range."
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0
    error_message = "A NAT gateway costs money, so none may be made by default."
  }

  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.cluster_out)) == toset(["443", "80"])
    error_message = "Machines must only reach HTTP and HTTPS."
  }

  assert {
    condition     = output.head_subnet_id == aws_subnet.public["eu-central-1a"].id
    error_message = "The head must be in a public subnet."
  }
}

run "zones_keep_their_subnets" {
  command = plan

  variables {
    network = {
      zones     = { eu-central-1c = 2, eu-central-1b = 1, eu-central-1a = 0 }
      head_zone = "eu-central-1b"
    }
  }

  assert {
    condition     = aws_subnet.public["eu-central-1b"].cidr_block == "10.42.16.0/20" && aws_subnet.private["eu-central-1a"].cidr_block == "10.42.128.0/20"
    error_message = "A third zone must not move the others' subnets."
  }
}

run "two_zones_with_one_number_are_refused" {
  command = plan

  variables {
    network = {
      zones     = { eu-central-1a = 0, eu-central-1b = 0 }
      head_zone = "eu-central-1a"
    }
  }

  expect_failures = [var.network]
}

run "a_head_in_another_zone_is_refused" {
  command = plan

  variables {
    network = {
      zones     = { eu-central-1a = 0, eu-central-1b = 1 }
      head_zone = "eu-central-1c"
    }
  }

  expect_failures = [var.network]
}

run "private_nodes_have_a_nat" {
  command = apply

  variables {
    network = {
      zones         = { eu-central-1a = 0, eu-central-1b = 1 }
      head_zone     = "eu-central-1a"
      private_nodes = true
    }
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && toset(output.node_subnet_ids) == toset([for s in aws_subnet.private : s.id])
    error_message = "Private nodes must be behind one NAT gateway."
  }
}

run "existing_network_is_left_alone" {
  command = apply

  variables {
    network = {
      zones     = { eu-central-1a = 0, eu-central-1b = 1 }
      head_zone = "eu-central-1a"
      existing = {
        vpc_id              = "vpc-0123456789abcdef0"
        head_subnet_id      = "subnet-01"
        node_subnet_ids     = ["subnet-02"]
        database_subnet_ids = ["subnet-03", "subnet-04"]
      }
    }
  }

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.public) == 0 && output.vpc_id == "vpc-0123456789abcdef0"
    error_message = "Only security groups may be made in an existing network."
  }
}

run "whole_internet_is_refused" {
  command = plan

  variables {
    network = {
      zones                 = { eu-central-1a = 0, eu-central-1b = 1 }
      head_zone             = "eu-central-1a"
      allowed_ingress_cidrs = ["0.0.0.0/0"]
    }
  }

  expect_failures = [var.network]
}

run "one_zone_is_refused" {
  command = plan

  variables {
    network = { zones = { eu-central-1a = 0 }, head_zone = "eu-central-1a" }
  }

  expect_failures = [var.network]
}
