"""The same decisions on history: history (as-of reads) -> replay (fold over decide) -> score -> report."""
