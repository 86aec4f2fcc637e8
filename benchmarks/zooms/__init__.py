"""What `benchmarks/zooming.py` compares: baselines, pipelines of one picture, costs."""
