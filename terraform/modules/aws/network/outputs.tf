output "vpc_id" {
  description = "The VPC."
  value       = local.vpc_id
}

output "head_subnet_id" {
  description = "Public subnet of the head."
  value       = local.head_subnet_id
  # A machine that boots before its route to the internet exists can't fetch its bootstrap files.
  depends_on = [aws_route_table_association.public, aws_vpc_endpoint.s3]
}

output "node_subnet_ids" {
  description = "Subnets that worker nodes start in."
  value       = local.node_subnet_ids
  depends_on  = [aws_route_table_association.public, aws_route_table_association.private, aws_vpc_endpoint.s3]
}

output "database_subnet_ids" {
  description = "Private subnets of the database, in at least two zones."
  value       = local.database_subnet_ids
}

output "cluster_security_group_id" {
  description = "Security group of every machine of the cluster."
  value       = aws_security_group.cluster.id
  depends_on = [
    aws_vpc_security_group_ingress_rule.cluster_self,
    aws_vpc_security_group_egress_rule.cluster_self,
    aws_vpc_security_group_egress_rule.cluster_out,
  ]
}

output "head_security_group_id" {
  description = "Security group that opens SSH to the head."
  value       = aws_security_group.head.id
}

output "database_security_group_id" {
  description = "Security group of the database."
  value       = aws_security_group.database.id
}
