"""Floor 4: graphs on a GPU. The generator is Python and text; CuPy is imported when used."""
