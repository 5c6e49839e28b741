"""Verse by a language model: forms as automata over characters, the poems written under them, and what it cost."""
