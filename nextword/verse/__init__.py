"""What verse is made of: tones, rhymes, stress, the forms, and a checker. Knows of no model and no tokenizer."""
