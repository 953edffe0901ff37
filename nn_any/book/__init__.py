"""The modules of Nielsen's book, name for name, on any device: `network` and `mnist_loader`.

Reference: M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015.
"""
