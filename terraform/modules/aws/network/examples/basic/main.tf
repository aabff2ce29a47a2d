provider "aws" {
  region = "eu-central-1"
}

module "network" {
  source = "../.."

  reference = "demo-1a2b3c4d"
  region    = "eu-central-1"

  network = {
    zones                 = { eu-central-1a = 0, eu-central-1b = 1 }
    head_zone             = "eu-central-1a"
    allowed_ingress_cidrs = ["203.0.113.7/32"]
  }
}
