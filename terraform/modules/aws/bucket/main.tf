locals {
  with_lifecycle = anytrue([for days in [
    var.bucket.noncurrent_days,
    var.bucket.abort_incomplete_days,
    var.bucket.expire_days,
    var.bucket.infrequent_access_days,
  ] : days != null])
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_18: Access logs need a second bucket and cost money; an account that wants them can use CloudTrail data events.
  # checkov:skip=CKV_AWS_144: Replication doubles the price of every artifact; owners copy what must survive the loss of a region.
  # checkov:skip=CKV_AWS_145: Encrypted by S3's own keys unless the definition names a KMS key, which costs per request.
  # checkov:skip=CKV2_AWS_62: Nothing listens to events of this bucket.
  # checkov:skip=CKV_AWS_21: On unless the definition says otherwise.
  bucket        = var.bucket.name
  force_destroy = var.bucket.delete_objects_with_bucket

  tags = { Name = var.bucket.name }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  # Changes of a bucket's access settings conflict if they run at the same time.
  depends_on = [aws_s3_bucket_public_access_block.this]

  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = var.bucket.versioning ? "Enabled" : "Suspended"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.bucket.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.bucket.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.bucket.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  # checkov:skip=CKV_AWS_300: The rule abort-incomplete-uploads has it, for every key; the check doesn't read dynamic rules.
  # Not made without rules: the provider waits most of a minute for it, and S3 refuses one without rules.
  count = local.with_lifecycle ? 1 : 0

  # S3 refuses rules about old versions until versioning is set.
  depends_on = [aws_s3_bucket_versioning.this]

  bucket = aws_s3_bucket.this.id

  dynamic "rule" {
    for_each = var.bucket.abort_incomplete_days == null ? [] : [var.bucket.abort_incomplete_days]

    content {
      id     = "abort-incomplete-uploads"
      status = "Enabled"

      filter {}

      abort_incomplete_multipart_upload {
        days_after_initiation = rule.value
      }
    }
  }

  dynamic "rule" {
    for_each = var.bucket.noncurrent_days == null ? [] : [var.bucket.noncurrent_days]

    content {
      id     = "old-versions"
      status = "Enabled"

      filter {}

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }
    }
  }

  dynamic "rule" {
    for_each = var.bucket.expire_days == null ? [] : [var.bucket.expire_days]

    content {
      id     = "expire-artifacts"
      status = "Enabled"

      filter {
        prefix = "artifacts/"
      }

      expiration {
        days = rule.value
      }
    }
  }

  dynamic "rule" {
    for_each = var.bucket.infrequent_access_days == null ? [] : [var.bucket.infrequent_access_days]

    content {
      id     = "artifacts-to-infrequent-access"
      status = "Enabled"

      filter {
        prefix = "artifacts/"
      }

      transition {
        days          = rule.value
        storage_class = "STANDARD_IA"
      }
    }
  }
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    sid       = "TLSOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "this" {
  count = var.tls_only ? 1 : 0

  depends_on = [aws_s3_bucket_ownership_controls.this]

  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.tls_only.json
}

resource "aws_s3_object" "bootstrap" {
  # checkov:skip=CKV_AWS_186: Has the bucket's own encryption, which is KMS if the definition says so.
  for_each = var.bootstrap

  # Otherwise a destroy could leave versions of these files behind.
  depends_on = [
    aws_s3_bucket_versioning.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_policy.this,
  ]

  bucket        = aws_s3_bucket.this.id
  key           = each.key
  source        = each.value.source
  content       = each.value.content
  source_hash   = each.value.source == null ? md5(each.value.content) : filemd5(each.value.source)
  force_destroy = true

  # S3 takes ten tags on an object and fifty on a bucket; a stack may have more than ten. The bucket has them all.
  override_provider {
    default_tags {
      tags = {}
    }
  }
}
