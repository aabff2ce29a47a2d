"""The supervisor: makes containers of what the API calls instances, databases, addresses and a registry."""
