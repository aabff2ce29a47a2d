mock_provider "aws" {}

variables {
  repository = { name = "rayform/demo-1a2b3c4d" }
}

run "immutable_and_scanned" {
  command = apply

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && one(aws_ecr_repository.this.image_scanning_configuration).scan_on_push
    error_message = "Tags must be immutable and images scanned by default."
  }

  assert {
    condition     = !coalesce(aws_ecr_repository.this.force_delete, false)
    error_message = "A repository with images must not be destroyed by mistake."
  }
}

run "bad_name_is_refused" {
  command = plan

  variables {
    repository = { name = "Rayform//Demo" }
  }

  expect_failures = [var.repository]
}
