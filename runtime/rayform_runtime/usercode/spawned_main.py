"""Stands in for a script in a child of `multiprocessing`, if the script's top level calls a pipeline.

`multiprocessing` runs this file as the child's main module. It runs the script in its own namespace, up to the call.
"""

import importlib
import os
import sys

from rayform_runtime.usercode.main_module import SPAWNED_MODULE, SPAWNED_SCRIPT, run_script

file, name = os.environ[SPAWNED_SCRIPT], os.environ.get(SPAWNED_MODULE)
module = sys.modules[__name__]
module.__file__ = file
if name is not None:
    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    module.__package__ = parent
run_script(module, file)
