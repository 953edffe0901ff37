"""Side-by-side timings: ``python -m benchmarks``; docs/speed.md says what came out. Never imported by the package."""
