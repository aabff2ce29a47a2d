"""Processes of this machine: their messages, their identity, the signals that stop them, and their end."""
