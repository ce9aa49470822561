"""Numbers only: geometry, prompts, results, intensity, prompt derivation, metrics."""
