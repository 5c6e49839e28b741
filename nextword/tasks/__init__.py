"""Applications of language models, each a value of `Task`: translation, summarization, dialogue, poetry. No torch."""
