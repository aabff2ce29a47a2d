output "host" {
  description = "Host name of the server."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "Port of the server."
  value       = aws_db_instance.this.port
}

output "database" {
  description = "Name of the database on the server."
  value       = "rayform"
}

output "user" {
  description = "User of the database."
  value       = "rayform"
}

output "secret_arn" {
  description = "ARN of the secret with the user's password, which RDS keeps and rotates."
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}

output "identifier" {
  description = "Identifier of the database instance."
  value       = aws_db_instance.this.identifier
}
