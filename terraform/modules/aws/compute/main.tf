locals {
  cluster_tags = { "ray-cluster-name" = var.reference }

  user_data = {
    reference = var.reference
    region    = var.placement.region
    bucket    = var.access.bucket_name
    endpoints = jsonencode(var.endpoints)
    boot      = file("${path.module}/templates/boot.sh")
  }
}

resource "aws_key_pair" "this" {
  key_name   = var.reference
  public_key = var.ssh_public_key
}

# The token that every call to the Ray cluster must carry. It comes as an ephemeral value and is written by a
# write-only argument, so neither a plan nor a state ever holds it.
resource "aws_secretsmanager_secret" "ray_token" {
  # checkov:skip=CKV_AWS_149: Encrypted by Secrets Manager's own key; a customer key costs money every month.
  # checkov:skip=CKV2_AWS_57: Rotating the token restarts the cluster, so a user decides when: raise ray_token_version.
  name        = "rayform/${var.reference}/ray-token"
  description = "Token of the stack's Ray cluster"

  # Otherwise the secret would wait for its deletion after a destroy, and block its name.
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "ray_token" {
  secret_id                = aws_secretsmanager_secret.ray_token.id
  secret_string_wo         = var.ray_token
  secret_string_wo_version = var.ray_token_version
}

resource "aws_instance" "head" {
  # checkov:skip=CKV_AWS_88: The head is the only way in, by SSH and only from the allowed ranges.
  # checkov:skip=CKV_AWS_126: Detailed monitoring costs money per metric; Ray has its own.
  # checkov:skip=CKV_AWS_135: Every current instance type is EBS-optimised, and the oldest ones refuse the setting.
  ami           = var.head.ami
  instance_type = var.head.instance_type
  key_name      = aws_key_pair.this.key_name

  subnet_id              = var.placement.head_subnet_id
  vpc_security_group_ids = [var.placement.cluster_security_group_id, var.placement.head_security_group_id]
  iam_instance_profile   = aws_iam_instance_profile.head.name

  # The head stops itself when it is idle; that must stop it and not terminate it.
  instance_initiated_shutdown_behavior = "stop"

  user_data = templatefile("${path.module}/templates/head.sh.tftpl", local.user_data)
  # User data runs once, at the first boot. Settings that may change later are in the bucket. Any change of user data,
  # even of a comment in the files of `templates/`, replaces the head of a deployed stack.
  user_data_replace_on_change = true

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # Two hops, so that step containers outside the host's network reach it too.
    http_put_response_hop_limit = 2
  }

  root_block_device {
    encrypted             = true
    volume_type           = "gp3"
    volume_size           = var.head.disk_gb
    delete_on_termination = true
    tags                  = merge(var.tags, { Name = "${var.reference}-head" })
  }

  tags = merge(local.cluster_tags, {
    Name            = "${var.reference}-head"
    "ray-node-type" = "head"
    # Without it, Ray's autoscaler finds no node of type "head" and tries to launch one every few seconds.
    "ray-user-node-type" = "head"
    "rayform:bootstrap"  = substr(sha256(join(",", sort(keys(var.bootstrap)))), 0, 12)
  })

  lifecycle {
    # Ray and the head write these tags themselves.
    ignore_changes = [tags["ray-node-name"], tags["ray-node-status"], tags["ray-launch-config"], tags["ray-user-node-type"], tags["rayform:status"]]
    # A machine takes its SSH keys at its first boot.
    replace_triggered_by = [aws_key_pair.this.public_key]
  }

  # The first call of a machine that boots before its permissions exist would fail.
  depends_on = [aws_iam_role_policy.head_node, aws_secretsmanager_secret_version.ray_token]
}

# The head's address stays the same when the head stops and starts.
resource "aws_eip" "head" {
  count = var.head.public ? 1 : 0

  domain = "vpc"

  tags = { Name = "${var.reference}-head" }
}

resource "aws_eip_association" "head" {
  count = var.head.public ? 1 : 0

  allocation_id = aws_eip.head[0].id
  instance_id   = aws_instance.head.id
}

# Stacks that were deployed before a head could be private.
moved {
  from = aws_eip.head
  to   = aws_eip.head[0]
}

moved {
  from = aws_eip_association.head
  to   = aws_eip_association.head[0]
}

resource "aws_launch_template" "worker" {
  # checkov:skip=CKV_AWS_341: Step containers outside the host's network reach the metadata service by a second hop.
  for_each = var.worker_groups

  name                                 = "${var.reference}-${each.key}"
  description                          = "Worker group ${each.key}, started by Ray's autoscaler"
  image_id                             = each.value.ami
  instance_type                        = each.value.instance_type
  key_name                             = aws_key_pair.this.key_name
  vpc_security_group_ids               = [var.placement.cluster_security_group_id]
  update_default_version               = true
  instance_initiated_shutdown_behavior = "terminate"

  user_data = base64encode(templatefile("${path.module}/templates/worker.sh.tftpl", merge(local.user_data, {
    group = each.key
    head  = aws_instance.head.private_ip
  })))

  iam_instance_profile {
    name = aws_iam_instance_profile.worker.name
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  block_device_mappings {
    device_name = "/dev/sda1"

    ebs {
      encrypted             = true
      volume_type           = "gp3"
      volume_size           = each.value.disk_gb
      delete_on_termination = true
    }
  }

  dynamic "instance_market_options" {
    for_each = each.value.spot ? [true] : []

    content {
      market_type = "spot"
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags = merge(var.tags, local.cluster_tags, {
        Name            = "${var.reference}-${each.key}"
        "rayform:group" = each.key
      })
    }
  }
}
