"""CUDA kernels: optional twins of the NumPy rules, under the same names.

With every kernel removed a GPU still works, by the rules on CuPy's arrays, only slower. A file is
one kernel: what it computes and which memory it reads and writes stands in its first lines.
"""
