"""Finetuning SAM for medicine: the objective of the MedicoSAM paper, its data and its loop."""
