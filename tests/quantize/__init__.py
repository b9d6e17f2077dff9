import weft  # noqa: F401  (the backend is chosen before Keras is imported)
