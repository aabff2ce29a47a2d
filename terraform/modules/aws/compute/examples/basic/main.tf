provider "aws" {
  region = "eu-central-1"
}

ephemeral "aws_secretsmanager_random_password" "ray_token" {
  password_length     = 48
  exclude_punctuation = true
}

module "compute" {
  source = "../.."

  reference      = "demo-1a2b3c4d"
  tags           = { "rayform:stack" = "demo-1a2b3c4d" }
  ray_token      = ephemeral.aws_secretsmanager_random_password.ray_token.random_password
  ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvXQ9nS3sRrPZ2W4qvC3YVtKx4bXk9Xn4V1yXjJ0aZP demo"

  placement = {
    region                    = "eu-central-1"
    head_subnet_id            = "subnet-0123456789abcdef0"
    node_subnet_ids           = ["subnet-0123456789abcdef0"]
    cluster_security_group_id = "sg-0123456789abcdef0"
    head_security_group_id    = "sg-0fedcba9876543210"
  }

  access = {
    bucket_name = "rayform-demo-1a2b3c4d"
    bucket_arn  = "arn:aws:s3:::rayform-demo-1a2b3c4d"
  }

  bootstrap = { "system/bootstrap/stack.json" = "etag" }

  head = {
    ami           = "ami-0123456789abcdef0"
    instance_type = "m6i.large"
  }

  worker_groups = {
    gpu = {
      ami           = "ami-0123456789abcdef0"
      instance_type = "g5.xlarge"
      spot          = true
    }
  }
}
