provider "aws" {
  region = "eu-central-1"
}

module "registry" {
  source = "../.."

  repository = {
    name = "rayform/demo-1a2b3c4d"
  }
}
