"""Which steps run, decided by values of outputs: conditions, and bodies of dynamic pipelines."""
