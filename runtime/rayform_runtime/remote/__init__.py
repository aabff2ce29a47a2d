"""Connections to other machines: the OpenSSH client and port tunnels."""
