"""A call: arrays of parameters in, one array per output out, with what was found of every instance; no tensors."""
