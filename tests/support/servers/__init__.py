"""Servers that tests talk to: started on loopback, and stopped after the tests."""
