"""The embedding store: what was encoded once is never encoded again."""
