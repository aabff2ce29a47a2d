"""ZenML's things in Rayform's form; `rayform.zenml.paths` says under which of ZenML's names they stand."""
