"""Processes of this machine: messages between them, signals that stop them, and their end."""
