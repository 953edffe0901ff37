"""The modules of Nielsen's book, name for name, on any device: `mnist_loader`, `network`, `network2` and `network3`.

Reference: M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015.
"""
