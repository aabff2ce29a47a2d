"""The API process: an AWS API whose instances, databases and repositories the supervisor makes real."""
