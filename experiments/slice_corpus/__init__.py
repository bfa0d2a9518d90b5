"""Records of slices: sweeps, random allocations and searches of models, with reference optima."""
