# Two roles. The worker's may read and write artifacts and pull images. The head's may also start and stop workers, and
# stop itself. Neither may touch anything that another stack owns.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  ec2 = "arn:${data.aws_partition.current.partition}:ec2:${var.placement.region}:${data.aws_caller_identity.current.account_id}"
  mine = {
    test     = "StringEquals"
    variable = "aws:ResourceTag/rayform:stack"
    values   = [var.reference]
  }
  # What is started must carry the stack's own tag, and can't claim another stack's.
  tagged = {
    test     = "StringEquals"
    variable = "aws:RequestTag/rayform:stack"
    values   = [var.reference]
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "node" {
  # checkov:skip=CKV_AWS_356: ecr:GetAuthorizationToken can't be limited to a resource.
  statement {
    sid       = "ListBucket"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
    resources = [var.access.bucket_arn]
  }

  statement {
    sid       = "ReadBucket"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${var.access.bucket_arn}/*"]
  }

  # Everything except system/bootstrap/, whose code every machine runs as root: only the user who deploys may write it.
  statement {
    sid       = "WriteBucket"
    actions   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["${var.access.bucket_arn}/*"]
  }

  statement {
    sid       = "KeepBootstrap"
    effect    = "Deny"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.access.bucket_arn}/system/bootstrap/*"]
  }

  statement {
    sid       = "ReadToken"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = [aws_secretsmanager_secret.ray_token.arn]
  }

  dynamic "statement" {
    for_each = var.access.with_repository ? [var.access.repository_arn] : []

    content {
      sid = "PullImages"
      actions = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:DescribeImages",
        "ecr:GetDownloadUrlForLayer",
      ]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.access.with_repository ? [true] : []

    content {
      sid       = "RegistryLogin"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"]
    }
  }

  dynamic "statement" {
    for_each = var.access.kms_key_arn == null ? [] : [var.access.kms_key_arn]

    content {
      sid       = "BucketKey"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

data "aws_iam_policy_document" "head" {
  # checkov:skip=CKV_AWS_356: EC2's Describe calls can't be limited to a resource.
  # checkov:skip=CKV_AWS_111: Each statement that allows writing is limited to the stack by a tag or a launch template.
  statement {
    sid = "SeeMachines"
    actions = [
      "ec2:DescribeAvailabilityZones",
      "ec2:DescribeImages",
      "ec2:DescribeInstanceStatus",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeInstances",
      "ec2:DescribeKeyPairs",
      "ec2:DescribeLaunchTemplateVersions",
      "ec2:DescribeLaunchTemplates",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSpotInstanceRequests",
      "ec2:DescribeSubnets",
      "ec2:DescribeTags",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }

  # Workers start from the stack's own launch templates, with the worker's role and no other. EC2 asks for each resource of
  # a start by itself. What a template says can't be replaced, except the subnet, for which Ray picks the zone.
  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid       = "OnlyFromTemplates"
      effect    = "Deny"
      actions   = ["ec2:RunInstances"]
      resources = ["*"]

      # Also true for a start without any template.
      condition {
        test     = "ArnNotEquals"
        variable = "ec2:LaunchTemplate"
        values   = [for template in values(aws_launch_template.worker) : template.arn]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid     = "StartFromTemplates"
      actions = ["ec2:RunInstances"]
      resources = concat(
        ["${local.ec2}:security-group/${var.placement.cluster_security_group_id}"],
        ["${local.ec2}:key-pair/${aws_key_pair.this.key_name}"],
        [for ami in distinct([for group in values(var.worker_groups) : group.ami]) : "arn:${data.aws_partition.current.partition}:ec2:${var.placement.region}::image/${ami}"],
        [for template in values(aws_launch_template.worker) : template.arn],
      )

      condition {
        test     = "Bool"
        variable = "ec2:IsLaunchTemplateResource"
        values   = ["true"]
      }
    }
  }

  # The type and the tags of the instance come with the request: only types of the groups, and only this stack's tag.
  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid       = "StartInstances"
      actions   = ["ec2:RunInstances"]
      resources = ["${local.ec2}:instance/*"]

      condition {
        test     = "StringEquals"
        variable = "ec2:InstanceType"
        values   = sort(distinct([for group in values(var.worker_groups) : group.instance_type]))
      }

      condition {
        test     = local.tagged.test
        variable = local.tagged.variable
        values   = local.tagged.values
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid       = "StartDisks"
      actions   = ["ec2:RunInstances"]
      resources = ["${local.ec2}:volume/*"]

      condition {
        test     = local.tagged.test
        variable = local.tagged.variable
        values   = local.tagged.values
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid     = "StartInSubnets"
      actions = ["ec2:RunInstances"]
      resources = concat(
        ["${local.ec2}:network-interface/*", "${local.ec2}:spot-instances-request/*"],
        [for id in distinct(concat(var.placement.node_subnet_ids, [var.placement.head_subnet_id])) : "${local.ec2}:subnet/${id}"],
      )
    }
  }

  dynamic "statement" {
    for_each = length(var.worker_groups) == 0 ? [] : [true]

    content {
      sid       = "PassWorkerRole"
      actions   = ["iam:PassRole"]
      resources = [aws_iam_role.worker.arn]

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["ec2.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "TagAtStart"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:instance/*", "${local.ec2}:volume/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }

    condition {
      test     = local.tagged.test
      variable = local.tagged.variable
      values   = local.tagged.values
    }
  }

  # Ray keeps a node's status in its tags. It may not change the stack's own tag.
  statement {
    sid       = "TagMine"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = local.mine.test
      variable = local.mine.variable
      values   = local.mine.values
    }

    condition {
      test     = "ForAllValues:StringLike"
      variable = "aws:TagKeys"
      values   = ["Name", "ray-*", "rayform:status"]
    }
  }

  statement {
    sid       = "StopMine"
    actions   = ["ec2:TerminateInstances", "ec2:StopInstances", "ec2:StartInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = local.mine.test
      variable = local.mine.variable
      values   = local.mine.values
    }
  }
}

resource "aws_iam_role" "head" {
  name               = "${var.reference}-head"
  path               = "/rayform/${var.reference}/"
  description        = "Head of the Ray cluster"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "head_node" {
  name   = "node"
  role   = aws_iam_role.head.id
  policy = data.aws_iam_policy_document.node.json
}

resource "aws_iam_role_policy" "head" {
  name   = "autoscaler"
  role   = aws_iam_role.head.id
  policy = data.aws_iam_policy_document.head.json
}

resource "aws_iam_instance_profile" "head" {
  name = "${var.reference}-head"
  path = "/rayform/${var.reference}/"
  role = aws_iam_role.head.name
}

resource "aws_iam_role" "worker" {
  name               = "${var.reference}-worker"
  path               = "/rayform/${var.reference}/"
  description        = "Workers of the Ray cluster"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "worker_node" {
  name   = "node"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.node.json
}

# The head publishes its SSH host keys in system/head/; a worker that could write there could pose as the head.
data "aws_iam_policy_document" "not_head" {
  statement {
    sid       = "KeepHead"
    effect    = "Deny"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${var.access.bucket_arn}/system/head/*"]
  }
}

resource "aws_iam_role_policy" "worker_not_head" {
  name   = "not-head"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.not_head.json
}

resource "aws_iam_instance_profile" "worker" {
  name = "${var.reference}-worker"
  path = "/rayform/${var.reference}/"
  role = aws_iam_role.worker.name
}

# A policy of its own, because the database takes minutes to start and the head needn't wait for it.
data "aws_iam_policy_document" "catalog" {
  count = var.access.with_catalog ? 1 : 0

  statement {
    sid       = "ReadCatalogPassword"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = [var.catalog_secret_arn]
  }
}

resource "aws_iam_role_policy" "catalog" {
  for_each = var.access.with_catalog ? { head = aws_iam_role.head.id, worker = aws_iam_role.worker.id } : {}

  name   = "catalog"
  role   = each.value
  policy = data.aws_iam_policy_document.catalog[0].json
}
