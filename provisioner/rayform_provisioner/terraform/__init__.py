"""Terraform: the root module of a stack, the program that applies it, and what that program reports."""
