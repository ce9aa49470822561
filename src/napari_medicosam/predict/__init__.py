"""Inference: image to embedding, embedding and prompts to mask, mask through depth."""
