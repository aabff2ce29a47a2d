"""A module that others of the package import."""


def doubled(number: int) -> int:
    return 2 * number
