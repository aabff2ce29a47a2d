"""Makes infrastructure: stack definitions become Terraform, are planned, applied, inspected and destroyed."""
