"""`python -m rayform_server PORT STACK`: what `rayform dashboard --detach` starts."""

import sys

from rayform_core.errors import RayformError
from rayform_server.process import serve

if __name__ == "__main__":
    try:
        serve(stack=sys.argv[2], port=int(sys.argv[1]))
    except RayformError as error:
        sys.exit(str(error))
