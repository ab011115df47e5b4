"""How many tokens a text is, and which prefix of a prompt is cached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_BYTES_PER_TOKEN = 4
_BLOCK_TOKENS = 128
_LEAST_TOKENS = 1_024
_MOST_BLOCKS = 1_000_000


def token_count(text: str) -> int:
    """The tokens of a text: one for each four bytes of UTF-8, which is about right for English prose."""
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


@dataclass(slots=True)
class PromptCache:
    """The prefixes of prompts that the endpoint has seen, per API key, in blocks of 128 tokens.

    A prompt of fewer than 1,024 tokens is not cached. The blocks used least recently are dropped above a million.
    """

    _blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)

    def cached(self, key: str, prompt: str) -> int:
        """The cached tokens of a prompt, which is in the cache from then on."""
        data = prompt.encode()
        if len(data) < _LEAST_TOKENS * _BYTES_PER_TOKEN:
            return 0
        size = _BLOCK_TOKENS * _BYTES_PER_TOKEN
        found, prefix, unbroken = 0, hash(key), True
        for begin in range(0, len(data) - size + 1, size):
            prefix = hash((prefix, data[begin : begin + size]))
            unbroken = unbroken and prefix in self._blocks
            found += unbroken
            self._blocks[prefix] = None
            self._blocks.move_to_end(prefix)
        while len(self._blocks) > _MOST_BLOCKS:
            self._blocks.popitem(last=False)
        return found * _BLOCK_TOKENS
