"""Tasks done by a trained run: what it answers, how good that is, and what people use it for."""
