terraform {
  # 1.11 brings write-only arguments and the S3 backend's own lock file.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 6.0"
    }
  }
}
