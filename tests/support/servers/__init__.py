"""Servers that tests talk to: started on loopback, stopped after."""
