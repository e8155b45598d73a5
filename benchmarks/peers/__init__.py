"""One training step in other libraries, each in a process and an environment of its own.

`benchmarks/peers.py` starts them and lets them take turns. A worker is

    python -m peers.worker LIBRARY SETUP TABLE THREADS

in the environment of the library, with the folder above this one on ``PYTHONPATH``. Only `ours`
imports discretevae, and each of the others only its own library.
"""
