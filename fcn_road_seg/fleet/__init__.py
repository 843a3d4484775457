"""Finds many bags and segments each once, in several processes or on several machines."""
