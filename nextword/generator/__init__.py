"""Where text meets decoding: strings become requests in token ids, and tokens become text again."""

from nextword.generator.generator import TextGenerator
from nextword.generator.job import Generation, Job

__all__ = ["Generation", "Job", "TextGenerator"]
