"""Reaching a Ray cluster: tunnel, job submission, logs, the step-image plugin."""
