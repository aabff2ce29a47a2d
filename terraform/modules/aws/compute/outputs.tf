output "head_instance_id" {
  description = "ID of the head's instance."
  value       = aws_instance.head.id
}

output "head_public_ip" {
  description = "The head's public address, which stays the same when the head stops."
  value       = one(aws_eip.head[*].public_ip)
  depends_on  = [aws_eip_association.head]
}

output "head_private_ip" {
  description = "The head's address inside the VPC."
  value       = aws_instance.head.private_ip
}

output "ray_token_secret_arn" {
  description = "ARN of the secret with the Ray token."
  value       = aws_secretsmanager_secret.ray_token.arn
}

output "launch_templates" {
  description = "Worker group to launch template name."
  value       = { for group, template in aws_launch_template.worker : group => template.name }
}

output "head_role_arn" {
  description = "ARN of the head's role."
  value       = aws_iam_role.head.arn
}

output "worker_role_arn" {
  description = "ARN of the workers' role."
  value       = aws_iam_role.worker.arn
}
