"""One module a task: `rows(quick)` measures every warp on it; `benchmarks/downsampling.py` prints them."""
