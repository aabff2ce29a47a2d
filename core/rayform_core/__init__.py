"""The base of all rooms: errors, safe files and locks, identifiers, the wheel of this Rayform.

It imports only the standard library, so importing it costs a room almost no start-up time.
"""
