"""Side-by-side timings; ``python -m benchmarks.book_loop`` and what follows. Never imported by the package."""
