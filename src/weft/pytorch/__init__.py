"""The PyTorch door: from a module to a Keras model (`from_torch`), from a finalised model to a module (`to_torch`)."""
