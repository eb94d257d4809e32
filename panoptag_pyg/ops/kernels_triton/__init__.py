"""CUDA kernels written in Triton, which comes with PyTorch's CUDA builds.

Nothing here imports Triton before a kernel runs.
"""
