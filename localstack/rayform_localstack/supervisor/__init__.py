"""The supervisor: it makes the API's instances, databases, addresses and registry real, as containers."""
