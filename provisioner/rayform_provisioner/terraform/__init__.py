"""Terraform: the root module of a stack, the program that applies it, and what it says."""
