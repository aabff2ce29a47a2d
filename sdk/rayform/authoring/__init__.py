"""What a user's file becomes: steps and pipelines, traced into a `PipelineSpec`."""
