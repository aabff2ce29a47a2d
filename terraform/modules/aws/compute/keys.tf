# Rights on the customer's own KMS keys: the one of the catalog's password, and the one that encrypts each new disk of the
# account. A stack without such keys gets none of these policies.

data "aws_iam_policy_document" "catalog_key" {
  count = var.access.catalog_key_arn == null ? 0 : 1

  statement {
    sid       = "DecryptCatalogPassword"
    actions   = ["kms:Decrypt"]
    resources = [var.access.catalog_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${var.placement.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "catalog_key" {
  for_each = var.access.catalog_key_arn == null ? {} : { head = aws_iam_role.head.id, worker = aws_iam_role.worker.id }

  name   = "catalog-key"
  role   = each.value
  policy = data.aws_iam_policy_document.catalog_key[0].json
}

# The head starts workers, so EC2 asks in its name for the key of their disks.
data "aws_iam_policy_document" "disk_key" {
  count = var.access.disk_key_arn == null ? 0 : 1

  statement {
    sid       = "EncryptDisks"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
    resources = [var.access.disk_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["ec2.${var.placement.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "LendKeyToDisks"
    actions   = ["kms:CreateGrant"]
    resources = [var.access.disk_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["ec2.${var.placement.region}.amazonaws.com"]
    }

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }
}

resource "aws_iam_role_policy" "disk_key" {
  count = var.access.disk_key_arn == null ? 0 : 1

  name   = "disk-key"
  role   = aws_iam_role.head.id
  policy = data.aws_iam_policy_document.disk_key[0].json
}
