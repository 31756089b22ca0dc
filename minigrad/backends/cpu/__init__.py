"""The compiled CPU backend: a graph becomes native code through LLVM, run on one thread pool."""
