"""What every room of Rayform stands on: the error tree, safe files and locks, identifiers, nearest names.

It imports the standard library alone, so that any room may import it at no cost in start-up time.
"""
