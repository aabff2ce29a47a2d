provider "aws" {
  region = "eu-central-1"
}

module "catalog" {
  source = "../.."

  reference = "demo-1a2b3c4d"

  catalog = {
    subnet_ids         = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
    security_group_ids = ["sg-0123456789abcdef0"]
  }
}
