"""What a run costs: operations, memory; each number measured, predicted or from a formula."""
