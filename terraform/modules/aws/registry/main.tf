resource "aws_ecr_repository" "this" {
  # checkov:skip=CKV_AWS_136: Encrypted by ECR's own key unless the definition names a KMS key, which costs per request.
  # checkov:skip=CKV_AWS_51: Immutable unless the definition says otherwise.
  # checkov:skip=CKV_AWS_163: Scanned on push unless the definition says otherwise.
  name                 = var.repository.name
  image_tag_mutability = var.repository.immutable ? "IMMUTABLE" : "MUTABLE"
  force_delete         = var.repository.delete_images_with_repository

  image_scanning_configuration {
    scan_on_push = var.repository.scan_on_push
  }

  encryption_configuration {
    encryption_type = var.repository.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.repository.kms_key_arn
  }

  tags = { Name = var.repository.name }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Untagged images go after some days"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = var.repository.untagged_days
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "The newest images stay"
        selection = {
          tagStatus   = "any"
          countType   = "imageCountMoreThan"
          countNumber = var.repository.keep_images
        }
        action = { type = "expire" }
      },
    ]
  })
}
