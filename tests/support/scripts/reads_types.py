"""Loads what `stores_types.py` stored as a script, and prints what it is here."""

import stores_types

from rayform import Client

run = Client().list_pipeline_runs()[0]
steps = run.steps
result = steps["result"].outputs["output"].load()
model = steps["model"].outputs["output"].load()
function = steps["function"].outputs["output"].load()
assert type(result) is stores_types.Result
assert result == stores_types.Result(0.5, stores_types.Split.TRAIN)
assert type(model) is stores_types.Majority
assert model.majority_ == 2
assert function(1) == 2


class Moved:
    """A class that takes the place of `Result`."""


try:
    steps["result"].outputs["output"].load(as_type=Moved)
except Exception as error:
    assert "isn't one any more" in str(error), error
else:
    raise AssertionError("a class that is no dataclass was taken")
renamed = type("Renamed", (stores_types.Result,), {})
assert type(steps["result"].outputs["output"].load(as_type=renamed)) is renamed
print("loaded")
