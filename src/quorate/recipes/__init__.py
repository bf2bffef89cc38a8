"""Locks and the other recipes: what people come for, made of the store's permits, sessions and keys.

One file a recipe. Its logic is written once, as flows; two thin faces carry it out, in threads and in asyncio.
"""
