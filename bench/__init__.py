"""Measures the collection beside the tools that people use for the same, on a sandbox of its own."""
