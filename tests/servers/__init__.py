"""Real servers on free loopback ports, for the tests: S3 (SeaweedFS, moto) and plain HTTP.

Belongs here: starting, stopping and looking into servers. The fixtures stand in
``tests/conftest.py``; each server starts when a test first asks for it, once per run.
The SeaweedFS launcher is ``bench.stores``, which `make run` and the benchmark use too.
"""
