output "name" {
  description = "The bucket's name."
  value       = aws_s3_bucket.this.id
  # Nothing may write to the bucket before encryption and the TLS-only policy are in place.
  depends_on = [
    aws_s3_bucket_policy.this,
    aws_s3_bucket_server_side_encryption_configuration.this,
    aws_s3_bucket_versioning.this,
  ]
}

output "arn" {
  description = "The bucket's ARN."
  value       = aws_s3_bucket.this.arn
}

output "bootstrap_etags" {
  description = "Bootstrap key to ETag; known once the files are in the bucket."
  value       = { for key, object in aws_s3_object.bootstrap : key => object.etag }
}
