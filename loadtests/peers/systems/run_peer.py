"""`python -m run_peer MODULE producer` answers calls; `python -m run_peer MODULE worker` is one worker process."""

import importlib
import sys

import peer_kit

if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    if sys.argv[2] == "producer":
        peer_kit.serve(module.producer)
    else:
        module.work()
