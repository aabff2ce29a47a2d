mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rayform/demo-1a2b3c4d/ray-token-AbCdEf" }
  }
}

variables {
  reference      = "demo-1a2b3c4d"
  ray_token      = "0123456789abcdef0123456789abcdef0123456789abcdef"
  tags           = { "rayform:stack" = "demo-1a2b3c4d" }
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvXQ9nS3sRrPZ2W4qvC3YVtKx4bXk9Xn4V1yXjJ0aZP demo"
  placement = {
    region                    = "eu-central-1"
    head_subnet_id            = "subnet-01"
    node_subnet_ids           = ["subnet-01"]
    cluster_security_group_id = "sg-01"
    head_security_group_id    = "sg-02"
  }
  access = {
    bucket_name = "rayform-demo-1a2b3c4d"
    bucket_arn  = "arn:aws:s3:::rayform-demo-1a2b3c4d"
  }
  bootstrap     = { "system/bootstrap/stack.json" = "etag" }
  head          = { ami = "ami-0123456789abcdef0", instance_type = "m6i.large" }
  worker_groups = { gpu = { ami = "ami-0123456789abcdef0", instance_type = "g5.xlarge", spot = true } }
}

run "machines_are_hardened" {
  command = apply

  assert {
    condition     = one(aws_instance.head.metadata_options).http_tokens == "required" && one(aws_launch_template.worker["gpu"].metadata_options).http_tokens == "required"
    error_message = "Every machine must ask for IMDSv2."
  }

  assert {
    condition     = one(aws_instance.head.root_block_device).encrypted && one(one(aws_launch_template.worker["gpu"].block_device_mappings).ebs).encrypted == "true"
    error_message = "Every disk must be encrypted."
  }

  assert {
    condition     = aws_instance.head.tags["ray-node-type"] == "head" && aws_instance.head.tags["ray-cluster-name"] == "demo-1a2b3c4d"
    error_message = "Ray must find its head by its tags."
  }

  assert {
    condition     = alltrue([for s in aws_launch_template.worker["gpu"].tag_specifications : s.tags["rayform:stack"] == "demo-1a2b3c4d"])
    error_message = "What the autoscaler starts must have the stack's tag."
  }

  assert {
    condition     = !strcontains(aws_instance.head.user_data, "secret") || !strcontains(lower(aws_instance.head.user_data), "password")
    error_message = "User data must not hold a secret."
  }

  assert {
    condition     = aws_secretsmanager_secret_version.ray_token.secret_string == null && aws_secretsmanager_secret.ray_token.recovery_window_in_days == 0
    error_message = "The token must be written by a write-only argument, and go with the stack."
  }
}

run "head_group_name_is_refused" {
  command = plan

  variables {
    worker_groups = { "GPU" = { ami = "ami-0123456789abcdef0", instance_type = "g5.xlarge" } }
  }

  expect_failures = [var.worker_groups]
}

run "bootstrap_must_hold_the_settings" {
  command = plan

  variables {
    bootstrap = {}
  }

  expect_failures = [var.bootstrap]
}

run "a_private_head_has_no_public_address" {
  command = apply

  variables {
    head = { ami = "ami-0123456789abcdef0", instance_type = "m6i.large", public = false }
  }

  assert {
    condition     = length(aws_eip.head) == 0 && output.head_public_ip == null && output.head_private_ip != null
    error_message = "A private head must be reached at its address in the VPC alone."
  }
}

run "customers_keys_are_usable" {
  command = apply

  variables {
    access = {
      bucket_name     = "rayform-demo-1a2b3c4d"
      bucket_arn      = "arn:aws:s3:::rayform-demo-1a2b3c4d"
      catalog_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
      disk_key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    }
  }

  assert {
    condition     = length(aws_iam_role_policy.disk_key) == 1 && aws_iam_role_policy.disk_key[0].role == aws_iam_role.head.id && contains(keys(aws_iam_role_policy.catalog_key), "head")
    error_message = "The head must be able to use the keys of its workers' disks and of the catalog's password."
  }
}

run "without_customers_keys_there_is_no_policy" {
  command = apply

  assert {
    condition     = length(aws_iam_role_policy.disk_key) == 0 && length(aws_iam_role_policy.catalog_key) == 0
    error_message = "A stack without keys of its own must get no rights on any."
  }
}
