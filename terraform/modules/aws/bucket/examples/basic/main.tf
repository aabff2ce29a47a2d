provider "aws" {
  region = "eu-central-1"
}

module "bucket" {
  source = "../.."

  bucket = {
    name                  = "rayform-demo-1a2b3c4d"
    noncurrent_days       = 30
    abort_incomplete_days = 7
  }

  bootstrap = {
    "system/bootstrap/stack.json" = { content = "{}" }
  }
}
