"""Reaching other machines: the OpenSSH client and port tunnels."""
