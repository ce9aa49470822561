"""Simulated annotation, and what it says about models: scores, reports, figures."""
