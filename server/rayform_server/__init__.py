"""The dashboard: a web page of this machine's stacks, served on loopback by `rayform dashboard`.

Pages are plain HTML that the server renders; small ES modules in `static/` add graphs and live updates.
`security.py` decides which requests are answered at all.
"""
